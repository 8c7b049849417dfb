//! How a process schedules its transactions in a region, and what it can learn about them. Names and meaning are those
//! of one process ([`crate::configure`] and its neighbours).

use crate::shared::region::Shared;
use contempo_core::{Settings, SettingsError};

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
}
