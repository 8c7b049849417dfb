//! Cells wherever users put them: structs, statics, `Arc`s, closures, values of other cells; and
//! how long they live.

use crate::support::canary::{Cage, Canary};
use crate::support::{alone, elsewhere, settle};
use contempo::{TVar, atomically, snapshot};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

struct Account {
    owner: String,
    balance: TVar<u64>,
    notes: TVar<Vec<String>>,
}

#[test]
fn a_cell_lies_in_a_struct() {
    let _turn = alone();
    let account =
        Account { owner: "Ada".into(), balance: TVar::new(1), notes: TVar::new(Vec::new()) };
    atomically(|tx| {
        tx.modify(&account.balance, |balance| balance + 1)?;
        tx.modify(&account.notes, |notes| {
            let mut notes = notes.clone();
            notes.push(format!("credit for {}", account.owner));
            notes
        })
    });
    assert_eq!(account.balance.load(), 2);
    assert_eq!(account.notes.load(), ["credit for Ada"]);
}

contempo::static_tvar! {
    /// A counter that all threads share.
    static SHARED: u64 = 0;
    static NAME: Option<String> = None;
    static WORDS: Vec<String> = Vec::new();
}

#[test]
fn a_cell_lies_in_a_static() {
    let _turn = alone();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| atomically(|tx| tx.modify(&SHARED, |n| n + 1))));
        }
    });
    assert_eq!(SHARED.load(), 1000);
    assert_eq!(NAME.swap(Some("first".into())), None);
    assert_eq!(NAME.swap(Some("second".into())), Some("first".into()));
    atomically(|tx| {
        tx.modify(&WORDS, |words| words.iter().cloned().chain(["a".into()]).collect())?;
        tx.modify(&WORDS, |words| words.iter().cloned().chain(["b".into()]).collect())
    });
    assert_eq!(snapshot(|view| view.read(&WORDS).concat()), "ab");
}

#[test]
fn what_a_static_cell_held_first_is_dropped_once() {
    let _turn = alone();
    // A type of its own, so that its destructor can count in a static.
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    struct First;
    impl Drop for First {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    contempo::static_tvar! {
        static CELL: First = First;
    }
    CELL.store(First);
    settle("the static's first value goes", || DROPPED.load(Ordering::SeqCst) == 1);
    atomically(|tx| tx.write(&CELL, First));
    settle("so does its second", || DROPPED.load(Ordering::SeqCst) == 2);
}

#[test]
fn expressions_of_static_cells_see_the_names_around_them() {
    let _turn = alone();
    const VERSION: usize = 3;
    const CELL: usize = 4;
    /// Refers to cells in statics.
    struct Node(usize, Option<&'static TVar<Node>>);
    contempo::static_tvar! {
        static A: [usize; VERSION] = [CELL; VERSION];
        static B: usize = VERSION + CELL;
        static ITSELF: Node = Node(CELL, Some(&ITSELF));
        static OTHER: Node = Node(VERSION, Some(&ITSELF));
    }
    assert_eq!((A.load(), B.load()), ([4, 4, 4], 7));
    let next = |cell: &TVar<Node>| cell.with(|node| (node.0, node.1));
    assert_eq!((next(&OTHER).0, next(next(&OTHER).1.unwrap()).0), (3, 4));
    assert!(next(&ITSELF).1.unwrap().ptr_eq(&ITSELF));
}

#[test]
fn handles_of_static_cells_can_be_cloned_and_dropped() {
    let _turn = alone();
    contempo::static_tvar! {
        static CELL: u64 = 7;
    }
    let handle = CELL.clone();
    assert!(handle.ptr_eq(&CELL));
    handle.store(8);
    drop(handle);
    contempo::collect();
    assert_eq!(CELL.load(), 8);
}

#[test]
fn a_cell_lies_in_an_arc_and_goes_to_threads() {
    let _turn = alone();
    let cell = Arc::new(TVar::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || (0..100).for_each(|_| cell.update(|n| n + 1)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(cell.load(), 400);
}

#[test]
fn a_handle_is_cloned_into_move_closures() {
    let _turn = alone();
    let cell = TVar::new(0);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let cell = cell.clone();
            thread::spawn(move || atomically(move |tx| tx.modify(&cell, |n| n + 1)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let inner = cell.clone();
    let read = move || inner.load();
    assert_eq!((read(), cell.load()), (4, 4));
}

#[test]
fn cells_nest_in_values_of_cells_and_maps() {
    let _turn = alone();
    let table: TVar<HashMap<&str, TVar<u64>>> = TVar::default();
    for word in ["a", "b", "a", "a"] {
        atomically(|tx| {
            let known = tx.read(&table)?;
            match known.get(word) {
                Some(count) => tx.modify(count, |n| n + 1),
                None => {
                    let mut more = known.clone();
                    more.insert(word, TVar::new(1));
                    tx.write(&table, more)
                }
            }
        });
    }
    let counts = snapshot(|view| {
        let table = view.read(&table);
        (*view.read(&table["a"]), *view.read(&table["b"]))
    });
    assert_eq!(counts, (3, 1));
    let deep = TVar::new(TVar::new(TVar::new(5)));
    assert_eq!(atomically(|tx| Ok(*tx.read(tx.read(tx.read(&deep)?)?)?)), 5);
}

#[test]
fn a_cell_is_created_used_and_published_inside_a_transaction() {
    let _turn = alone();
    let shelf: TVar<Option<TVar<String>>> = TVar::new(None);
    atomically(|tx| {
        let fresh = TVar::new(String::from("made"));
        tx.modify(&fresh, |text| format!("{text}, changed"))?;
        assert_eq!(tx.read(&fresh)?, "made, changed");
        tx.write(&shelf, Some(fresh.clone()))?;
        tx.modify(&fresh, |text| format!("{text}, shelved"))
    });
    let found = shelf.load().unwrap();
    assert_eq!(found.load(), "made, changed, shelved");
}

struct Node {
    value: Canary,
    next: TVar<Option<Arc<Node>>>,
}

fn list(cage: &Cage, length: u64) -> TVar<Option<Arc<Node>>> {
    let head = TVar::new(None);
    for n in 0..length {
        atomically(|tx| {
            let next = TVar::new(tx.read(&head)?.clone());
            tx.write(&head, Some(Arc::new(Node { value: cage.canary(n), next })))
        });
    }
    head
}

#[test]
fn nodes_are_reached_through_values_just_read() {
    let _turn = alone();
    let cage = Cage::new();
    let head = list(&cage, 100);
    let sum = atomically(|tx| {
        let (mut sum, mut at) = (0, tx.read(&head)?);
        while let Some(node) = at {
            sum += node.value.sing();
            at = tx.read(&node.next)?;
        }
        Ok(sum)
    });
    assert_eq!(sum, 99 * 100 / 2);
    drop(head);
    cage.settles_at(0);
}

#[test]
fn a_long_list_is_dropped_without_recursion() {
    let _turn = alone();
    let cage = Cage::new();
    let head = list(&cage, 20_000);
    head.store(None);
    drop(head);
    cage.settles_at(0);
}

#[test]
fn a_cell_dropped_by_its_own_transaction_stays_until_that_ends() {
    let _turn = alone();
    let cage = Cage::new();
    let mut slot = Some(TVar::new(cage.canary(1)));
    let sum = atomically(|tx| {
        let cell = slot.take().expect("nothing interrupts this transaction");
        let before = tx.read(&cell)?;
        tx.write(&cell, cage.canary(2))?;
        let after = tx.read(&cell)?;
        drop(cell);
        // Fills the caches' lists, so that a block freed too early would be used again.
        let _others: Vec<_> = (0..100).map(|n| TVar::new(cage.canary(n))).collect();
        Ok(before.sing() + after.sing())
    });
    assert_eq!(sum, 3);
    cage.settles_at(0);
}

#[test]
fn a_cell_dropped_on_another_thread_stays_while_a_transaction_refers_to_it() {
    let _turn = alone();
    let cage = Cage::new();
    let outer = TVar::new(TVar::new(cage.canary(1)));
    let mut attempts = 0;
    let seen = atomically(|tx| {
        attempts += 1;
        let inner = tx.read(&outer)?;
        let value = tx.read(inner)?;
        elsewhere(|| {
            // The last handle goes with the outer cell's old value; then plenty of garbage, so
            // that reclamation runs, and plenty of new values, so that its blocks are used again.
            outer.store(TVar::new(cage.canary(2)));
            let churn = TVar::new(cage.canary(3));
            (0..3000).for_each(|n| churn.store(cage.canary(n)));
            contempo::collect();
        });
        Ok((value.sing(), tx.read(inner)?.sing()))
    });
    assert_eq!((seen, attempts), ((1, 1), 1));
    assert_eq!(outer.load().load().sing(), 2);
    cage.settles_at(1);
}

#[test]
fn a_write_to_a_cell_that_loses_its_last_handle_meanwhile_is_harmless() {
    let _turn = alone();
    let cage = Cage::new();
    let outer = TVar::new(TVar::new(cage.canary(1)));
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        let inner = tx.read(&outer)?;
        tx.write(inner, cage.canary(2))?;
        if attempts == 1 {
            elsewhere(|| {
                outer.store(TVar::new(cage.canary(3)));
                (0..3000).for_each(|n| drop(TVar::new(n)));
                contempo::collect();
            });
        }
        Ok(())
    });
    // The first attempt has claimed the cell that was dropped, and given it back.
    assert_eq!((attempts, outer.load().load().sing()), (2, 2));
    cage.settles_at(1);
}

#[test]
fn the_last_handle_goes_inside_a_value_that_is_replaced() {
    let _turn = alone();
    let cage = Cage::new();
    let outer = TVar::new(Some(TVar::new(cage.canary(1))));
    atomically(|tx| tx.write(&outer, None));
    cage.settles_at(0);
}

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(u8);

#[repr(align(128))]
#[derive(Clone, Copy)]
struct TwoLines([u64; 40]);

#[repr(align(16))]
#[derive(Clone, Copy)]
struct Sixteen(u64);

fn is_aligned<T>(value: &T) -> bool {
    std::ptr::from_ref(value).is_aligned()
}

fn keeps<T: Copy + Send + Sync + 'static>(values: [T; 2], same: impl Fn(&T, &T) -> bool) {
    for _ in 0..300 {
        let cell = TVar::new(values[0]);
        atomically(|tx| {
            let first = tx.read(&cell)?;
            tx.write(&cell, values[1])?;
            let second = tx.read(&cell)?;
            assert!(is_aligned(first) && is_aligned(second));
            assert!(same(first, &values[0]) && same(second, &values[1]));
            Ok(())
        });
        assert!(cell.with(|now| is_aligned(now) && same(now, &values[1])));
        assert!(same(&cell.swap(values[0]), &values[1]));
    }
}

#[test]
fn values_of_any_alignment_and_size() {
    let _turn = alone();
    keeps([Line(1), Line(2)], |a, b| a.0 == b.0);
    keeps([TwoLines([1; 40]), TwoLines([2; 40])], |a, b| a.0 == b.0);
    keeps([Sixteen(1), Sixteen(2)], |a, b| a.0 == b.0);
    keeps([1_u128, 2], |a, b| a == b);
    keeps([1_u8, 2], |a, b| a == b);
    keeps([[1_u8; 3], [2; 3]], |a, b| a == b);
    keeps([[1_u64; 1000], [2; 1000]], |a, b| a == b);
    keeps([(), ()], |(), ()| true);
    keeps([[0_u64; 0], []], |a, b| a == b);
}

#[test]
fn zero_size_values_are_dropped_once() {
    let _turn = alone();
    static DROPPED: AtomicU64 = AtomicU64::new(0);
    struct Nothing;
    impl Drop for Nothing {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
        }
    }
    let cell = TVar::new(Nothing);
    (0..9).for_each(|_| cell.store(Nothing));
    drop(cell);
    settle("ten values go", || DROPPED.load(Ordering::SeqCst) >= 10);
    contempo::collect();
    assert_eq!(DROPPED.load(Ordering::SeqCst), 10);
}

#[test]
fn values_that_own_memory() {
    let _turn = alone();
    let text = TVar::new(String::from("a"));
    let numbers = TVar::new(vec![1_u64]);
    let boxed: TVar<Box<dyn Fn(u64) -> u64 + Send + Sync>> = TVar::new(Box::new(|n| n + 1));
    for _ in 0..500 {
        atomically(|tx| {
            let double = tx.read(&text)?.repeat(2);
            tx.write(&text, double[..double.len().min(64)].to_owned())?;
            tx.modify(&numbers, |numbers| numbers.iter().map(|n| n ^ 1).chain([0]).collect())
        });
    }
    assert_eq!(text.load().len(), 64);
    assert_eq!(numbers.with(Vec::len), 501);
    boxed.store(Box::new(|n| n * 2));
    assert_eq!(boxed.with(|f| f(21)), 42);
}

#[test]
fn many_cells_come_and_go_on_many_threads() {
    let _turn = alone();
    let cage = Cage::new();
    let slots: Vec<TVar<Option<TVar<Canary>>>> = (0..8).map(|_| TVar::new(None)).collect();
    thread::scope(|scope| {
        for thread in 0..3_usize {
            let (cage, slots) = (&cage, &slots);
            scope.spawn(move || {
                for n in 0..1500 {
                    atomically(|tx| {
                        let from = &slots[(n + thread) % 8];
                        let to = &slots[(n * 3 + thread) % 8];
                        if let Some(cell) = tx.read(from)? {
                            tx.modify(cell, |canary| cage.canary(canary.sing() + 1))?;
                        }
                        tx.write(to, Some(TVar::new(cage.canary(n as u64))))
                    });
                }
            });
        }
    });
    drop(slots);
    cage.settles_at(0);
}

#[test]
fn blocks_go_around_among_threads_that_make_and_drop_many_cells() {
    let _turn = alone();
    // Enough that every thread passes lists of free blocks on to the others, at the same time.
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            scope.spawn(move || {
                for round in 0..6 {
                    let cells: Vec<TVar<u64>> = (0..8000).map(TVar::new).collect();
                    assert!(cells.iter().map(TVar::load).eq(0..8000), "{thread} {round}");
                    drop(cells);
                    contempo::collect();
                }
            });
        }
    });
}

#[test]
fn conversions_and_debug() {
    let _turn = alone();
    assert_eq!(TVar::<u64>::default().load(), 0);
    let cell: TVar<_> = "text".into();
    assert_eq!(format!("{cell:?}"), "TVar(\"text\")");
    atomically(|tx| {
        tx.read(&cell)?;
        assert_eq!(format!("{cell:?}"), "TVar(..)");
        Ok(())
    });
}
