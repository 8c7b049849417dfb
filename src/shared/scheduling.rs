//! How a process schedules its transactions in a region, and what it can learn about them. Names and meaning are those
//! of one process ([`crate::configure`] and its neighbours).

use crate::shared::region::Shared;
use crate::shared::root::RootKind;
use contempo_core::{Activity, ContentionReport, Settings, SettingsError, Statistics};
use std::collections::HashMap;

impl Shared {
    /// How this process settles the conflicts of its transactions in this region now.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-settings-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// assert_eq!(shared.settings(), contempo::Settings::default());
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn settings(&self) -> Settings {
        self.domain().knobs.get()
    }

    /// Changes how this process settles the conflicts of its transactions in this region. Holds for attempts that fail
    /// from now on, of all threads and all clones of this handle, also if the process has opened the region twice.
    ///
    /// Each process has settings of its own, for each region, and begins with the defaults; those of
    /// [`contempo::configure`](crate::configure) are for `TVar`s. They are not kept in the region. What a transaction
    /// does to others is decided by the settings of the process that runs it: how long it waits, whether it goes first
    /// ([`policy`](Settings::policy)), and for how long it respects another process's transaction without a sign of
    /// life ([`grace`](Settings::grace), here up to 64 times that, since only attempts are signs of life). Processes
    /// with different settings disagree about which transaction goes first: one with a shorter grace overtakes, one
    /// with another policy than [`Turns`](crate::Policy::Turns) does not wait for its turn. All transactions stay
    /// correct, and none waits for ever.
    ///
    /// # Errors
    /// [`SettingsError`] if a setting is out of its range; nothing is changed then.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// use std::time::Duration;
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-configure-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let mut settings = shared.settings();
    /// settings.slice = Duration::from_micros(500); // more throughput, more latency
    /// shared.configure(settings)?;
    /// settings.grace = Duration::ZERO;
    /// assert!(shared.configure(settings).is_err());
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn configure(&self, settings: Settings) -> Result<(), SettingsError> {
        self.domain().knobs.set(settings)
    }

    /// What the transactions of this region have done since it was made: those of all processes, the dead included.
    /// Linear in the number of threads; costs the transactions nothing but a cached store each.
    ///
    /// What is held and reclaimed is not counted in regions: [`inspect`](Self::inspect) and [`verify`](Self::verify)
    /// tell that.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-statistics-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let cell = shared.root("cell", 0_u64)?;
    /// let before = shared.statistics();
    /// shared.atomically(|tx| tx.write(cell, &1))?; // in whatever process
    /// assert_eq!(shared.statistics().since(&before).commits, 1);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn statistics(&self) -> Statistics {
        self.domain().statistics()
    }

    /// What the transactions of this process have done in this region, also those of threads that have ended. In a
    /// forked child, before it opens the region itself: nothing. Linear in the number of threads of this process that
    /// have used the region and not ended.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-ours-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let cell = shared.root("cell", 0_u64)?;
    /// let before = shared.process_statistics();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| shared.atomically(|tx| tx.write(cell, &1)));
    /// });
    /// assert_eq!(shared.process_statistics().since(&before).commits, 1);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn process_statistics(&self) -> Statistics {
        self.domain().process_statistics()
    }

    /// The `most` cells of this region at which the most attempts of this process have failed since it opened the region
    /// (or since [`reset_contention`](Self::reset_contention)), which thread of this process waits for which now, and which,
    /// threads and tasks, sleep in `retry`. Its `Display` is a table. A cell, or the top of a collection, goes by the name of its root; all others, also the
    /// nodes of collections, by their handles, as [`Cell`](crate::shared::Cell) shows them. Threads are slots of the
    /// region, so one that others of this process wait behind may be another process's
    /// ([`inspect`](Self::inspect) tells).
    ///
    /// Each thread remembers the 64 cells where it has lost most; what it costs is paid by attempts that
    /// fail. Linear in the number of threads, of tasks that wait, and of roots. Inside a transaction or snapshot of the region the names of
    /// roots are not looked up.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-report-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let till = shared.root("till", 0_u64)?;
    /// std::thread::scope(|scope| {
    ///     for _ in 0..2 {
    ///         scope.spawn(|| (0..1000).for_each(|_| {
    ///             shared.atomically(|tx| tx.modify(till, |n| n + 1)).expect("there is room");
    ///         }));
    ///     }
    /// });
    /// println!("{}", shared.contention_report(10)); // `till` first, if there was any conflict
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contention_report(&self, most: usize) -> ContentionReport {
        self.domain().contention(most, self.own_slot(), self.cell_names())
    }

    /// What the threads of all processes do in this region now, and have done; with the `most` cells at which the most of
    /// their attempts have failed, and what waits, of all processes: but of their conflicts it is known only how many
    /// failed, of a thread the six cells where it has lost most, of its label the first 32 bytes, and of tasks only those of
    /// this process. `contempo-shm top` shows it.
    ///
    /// Linear in the number of threads, and of roots; costs transactions nothing but some words where they fail, or wait.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-activity-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let cell = shared.root("cell", 0_u64)?;
    /// shared.atomically(|tx| tx.write(cell, &1))?;
    /// let seen = shared.activity(10);
    /// assert_eq!(seen.threads[0].process, Some(std::process::id()));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn activity(&self, most: usize) -> Activity {
        self.domain().activity(most, self.own_slot(), self.cell_names())
    }

    /// The slot of the calling thread, if it has one, or can have one.
    fn own_slot(&self) -> Option<u32> {
        self.session().ok().map(|session| session.get().slot())
    }

    /// What reports call a cell.
    fn cell_names(&self) -> impl Fn(u64) -> String {
        let names = self.root_names();
        move |handle| names.get(&handle).cloned().unwrap_or_else(|| format!("Cell({handle:#x})"))
    }

    /// Forgets the conflicts that [`contention_report`](Self::contention_report) has counted so far, in this process.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-reset-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// shared.reset_contention();
    /// assert_eq!(shared.contention_report(1).to_string(), "no conflicts\n");
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reset_contention(&self) {
        self.domain().reset_contention();
    }

    /// The names of cells that are roots, or the tops of such collections. None where they cannot be read now.
    fn root_names(&self) -> HashMap<u64, String> {
        let look = self.with(|session| {
            // A snapshot inside a transaction would be a mistake of ours.
            if session.is_running() { Ok(Vec::new()) } else { self.roots_and_cells() }
        });
        let roots = look.unwrap_or_default().into_iter();
        let named = roots.flat_map(|(root, handles)| {
            let cells = if root.kind == RootKind::Queue { 2 } else { 1 };
            handles.into_iter().take(cells).map(move |handle| (handle, root.name.clone()))
        });
        named.collect()
    }
}
