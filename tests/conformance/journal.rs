//! What hooks note.

use crate::world::{Transaction, World};
use std::cell::RefCell;
use std::rc::Rc;

/// What happened, in order. (`Rc`: hooks stay on their thread.)
#[derive(Clone, Default)]
pub(crate) struct Journal(Rc<RefCell<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, what: &str) -> impl FnOnce() + use<> {
        let (journal, what) = (self.clone(), what.to_owned());
        move || journal.0.borrow_mut().push(what)
    }

    pub(crate) fn take(&self) -> Vec<String> {
        self.0.take()
    }

    /// Registers one hook of each kind.
    pub(crate) fn both<W: World>(&self, tx: &W::Transaction<'_>, name: &str) {
        tx.on_commit(self.note(&format!("{name} committed")));
        tx.on_rollback(self.note(&format!("{name} undone")));
    }
}
