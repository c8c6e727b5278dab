//! What is replaced as a whole while others use it: whoever took it keeps it to the end.

use std::sync::Arc;

use parking_lot::RwLock;

/// Shares a value that may be replaced. Cloning shares it.
#[derive(Debug, Default)]
pub struct Current<T>(Arc<RwLock<Arc<T>>>);

impl<T> Current<T> {
    /// Shares this one first.
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// The one of now. The lock is held for the copy of a pointer, by readers and by who replaces.
    pub fn now(&self) -> Arc<T> {
        self.0.read().clone()
    }

    /// Whoever asks from now on gets this one.
    pub fn replace(&self, value: T) {
        let new = Arc::new(value);
        // the last one may be dropped here, and not under the lock
        let _last = std::mem::replace(&mut *self.0.write(), new);
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
