//! Plans: programs for some threads, on some cells.

use crate::interpreter::Mistake;
use crate::judge::{Tally, judge};
use crate::program::{CELLS, Unit};
use crate::recorder::{Recording, World};
use arbitrary::{Arbitrary, Result, Unstructured};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

/// How large a plan is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Programs that run beside each other.
    pub threads: usize,
    /// Cells that they share.
    pub cells: usize,
    /// Units of each program.
    pub units: usize,
}

/// What threads will do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where they give the processor away.
    pub seed: u64,
    /// How many cells there are, at most [`CELLS`].
    pub cells: usize,
    /// A program for each thread.
    pub programs: Vec<Vec<Unit>>,
}

impl Plan {
    /// A random plan.
    pub fn random(seed: u64, shape: Shape) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut bytes = [0; 400];
        let mut unit = || {
            // Some run out of bytes, so that there are small ones.
            let length = random.random_range(8..=bytes.len());
            random.fill_bytes(&mut bytes[..length]);
            Unit::arbitrary(&mut Unstructured::new(&bytes[..length])).expect("decoding is total")
        };
        let programs =
            (0..shape.threads).map(|_| (0..shape.units).map(|_| unit()).collect()).collect();
        Plan { seed, cells: shape.cells.clamp(1, CELLS), programs }
    }

    /// The plan that these bytes stand for: programs for `threads`.
    pub fn decode(bytes: &[u8], threads: usize) -> Self {
        Self::from(&mut Unstructured::new(bytes), threads).expect("decoding is total")
    }

    fn from(u: &mut Unstructured<'_>, threads: usize) -> Result<Self> {
        let cells = u.int_in_range(0..=CELLS - 1)?;
        let seed = u64::from(u8::arbitrary(u)?);
        let mut programs = vec![Vec::new(); threads];
        while !u.is_empty() && programs[0].len() < 64 {
            for program in &mut programs {
                program.push(Unit::arbitrary(u)?);
            }
        }
        // Few cells are likelier than many.
        let cells = if cells < 16 { 1 + cells % 5 } else { 1 + cells };
        Ok(Plan { seed, cells, programs })
    }

    /// Runs the plan and judges what was recorded, down to the last destructor.
    ///
    /// # Errors
    /// The counterexample, to be read by people.
    pub fn verify(&self) -> std::result::Result<Tally, String> {
        self.verify_against(Mistake::None)
    }

    /// As [`verify`](Self::verify), against an interpreter that makes a mistake.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_against(&self, mistake: Mistake) -> std::result::Result<Tally, String> {
        let world = World::new(self.cells);
        let recording = world.run(self.seed, &self.programs)?;
        let tally = judge(mistake, &self.programs, &recording)?;
        world.end();
        Ok(tally)
    }

    /// Runs the plan and gives out what was recorded.
    ///
    /// # Errors
    /// What a thread panicked with.
    pub fn record(&self) -> std::result::Result<Recording, String> {
        World::new(self.cells).run(self.seed, &self.programs)
    }
}
