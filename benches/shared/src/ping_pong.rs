//! Two that wait for each other: by `retry` in a region, in one process, and by a socket.

use crate::bench::Failed;
use contempo::shared::{Cell, Shared, TransactionError};
use contempo::{TVar, atomically};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// What the word says: whose turn it is in bit 0, trips above that; and in the highest bit that the round is over.
const OVER: u64 = 1 << 63;
/// Each round begins at a multiple of this.
const ROUND: u64 = 1 << 40;

/// Is it the turn of `player` in this round, or is the round over?
fn concerns(word: u64, round: u64, player: u64) -> bool {
    (word & !OVER) / ROUND == round && (word & OVER != 0 || word % 2 == player)
}

/// Plays for `time`, if it is player 0, which says when it is over: round trips per second. `swap` waits until
/// its first argument says yes to the word, replaces the word by what the second makes of it, and says what it
/// was.
fn play(
    player: u64,
    round: u64,
    time: Duration,
    swap: impl Fn(&dyn Fn(u64) -> bool, &dyn Fn(u64) -> u64) -> Result<u64, Failed>,
) -> Result<f64, Failed> {
    if player == 0 {
        swap(&|_| true, &|_| round * ROUND)?;
    }
    let (begin, mut trips) = (Instant::now(), 0_u64);
    loop {
        let over = player == 0 && begin.elapsed() >= time;
        let next = |word: u64| {
            if word & OVER != 0 {
                word
            } else if over {
                word | OVER
            } else {
                word + 1
            }
        };
        let before = swap(&|word| concerns(word, round, player), &next)?;
        if over || before & OVER != 0 {
            break;
        }
        trips += 1;
    }
    Ok(if player == 0 { trips as f64 / begin.elapsed().as_secs_f64() } else { 0.0 })
}

/// By a cell of a region.
pub(crate) fn in_region(
    shared: &Shared,
    word: Cell<u64>,
    player: u64,
    round: u64,
    time: Duration,
) -> Result<f64, Failed> {
    play(player, round, time, |may, next| {
        let swapped: Result<u64, TransactionError> = shared.atomically(|tx| {
            let before = tx.read(word)?;
            tx.check(may(before))?;
            tx.write(word, &next(before))?;
            Ok(before)
        });
        Ok(swapped?)
    })
}

/// By a cell of one process.
pub(crate) fn in_process(
    word: &TVar<u64>,
    player: u64,
    round: u64,
    time: Duration,
) -> Result<f64, Failed> {
    play(player, round, time, |may, next| {
        Ok(atomically(|tx| {
            let before = *tx.read(word)?;
            tx.check(may(before))?;
            tx.write(word, next(before))?;
            Ok(before)
        }))
    })
}

/// By a byte that goes back and forth in a socket.
pub(crate) fn by_socket(folder: &Path, player: u64, time: Duration) -> Result<f64, Failed> {
    let path = folder.join("socket");
    let mut byte = [0_u8; 1];
    if player == 1 {
        let mut stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        while stream.read_exact(&mut byte).is_ok() && byte[0] == 1 {
            stream.write_all(&byte)?;
        }
        return Ok(0.0);
    }
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let (mut stream, _) = listener.accept()?;
    std::fs::remove_file(&path)?;
    let (begin, mut trips) = (Instant::now(), 0_u64);
    while begin.elapsed() < time {
        stream.write_all(&[1])?;
        stream.read_exact(&mut byte)?;
        trips += 1;
    }
    stream.write_all(&[0])?;
    Ok(trips as f64 / begin.elapsed().as_secs_f64())
}
