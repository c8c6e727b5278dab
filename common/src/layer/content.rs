//! One file's bytes: as processes see them, and as they are sure to be.

use super::dice::Dice;

/// What was done to a file and is not sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    Write { at: u64, bytes: Vec<u8> },
    Resize(u64),
}

impl Edit {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                let (from, to_end) = (index(*at), index(*at) + bytes.len());
                if to.len() < to_end {
                    to.resize(to_end, 0);
                }
                to[from..to_end].copy_from_slice(bytes);
            }
            Self::Resize(len) => to.resize(index(*len), 0),
        }
    }

    /// The least size of the file afterwards.
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Write { at, bytes } => at + bytes.len() as u64,
            Self::Resize(len) => *len,
        }
    }

    /// Without what it does above the `end`-th byte of the file.
    pub(super) fn torn_at(&self, end: u64) -> Self {
        match self {
            Self::Write { at, bytes } => Self::Write {
                at: *at,
                bytes: bytes[..index(end - at)].to_vec(),
            },
            Self::Resize(_) => self.clone(),
        }
    }
}

/// A place in a file that is in memory.
fn index(at: u64) -> usize {
    usize::try_from(at).expect("64-bit, and the file is in memory")
}

/// A file's bytes.
#[derive(Debug, Default)]
pub(super) struct Content {
    now: Vec<u8>,
    sure: Vec<u8>,
    unsure: Vec<Edit>,
}

impl Content {
    /// Bytes that are sure.
    pub(super) fn sure(bytes: Vec<u8>) -> Self {
        Self {
            now: bytes.clone(),
            sure: bytes,
            unsure: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.now.len() as u64
    }

    /// As processes see it.
    pub(super) fn now(&self) -> &[u8] {
        &self.now
    }

    pub(super) fn read(&self, at: u64, len: u32) -> &[u8] {
        let from = index(at).min(self.now.len());
        let to = (from + len as usize).min(self.now.len());
        &self.now[from..to]
    }

    pub(super) fn edit(&mut self, edit: Edit) {
        edit.apply(&mut self.now);
        self.unsure.push(edit);
    }

    /// All of it is sure.
    pub(super) fn sync(&mut self) {
        for edit in self.unsure.drain(..) {
            edit.apply(&mut self.sure);
        }
    }

    /// No later sync makes sure what was done until now.
    pub(super) fn forsake(&mut self) -> u64 {
        let forsaken = self.unsure.len() as u64;
        self.unsure.clear();
        forsaken
    }

    /// What a power cut leaves.
    pub(super) fn left(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.sure.clone();
        for edit in dice.of_edits(&self.unsure) {
            edit.apply(&mut bytes);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(at: u64, bytes: &[u8]) -> Edit {
        let bytes = bytes.to_vec();
        Edit::Write { at, bytes }
    }

    #[test]
    fn what_was_synced_is_left_and_nothing_else_is_sure() {
        let mut content = Content::default();
        content.edit(write(2, b"abc"));
        content.sync();
        content.edit(write(0, b"xy"));
        content.edit(Edit::Resize(3));
        assert_eq!(content.now(), b"xya");
        assert_eq!(content.left(&mut Dice::strict()), b"\0\0abc");
        content.sync();
        assert_eq!(content.left(&mut Dice::strict()), b"xya");
    }

    #[test]
    fn what_a_failed_sync_covered_is_never_sure() {
        let mut content = Content::default();
        content.edit(write(0, b"one"));
        assert_eq!(content.forsake(), 1);
        content.edit(write(3, b"two"));
        content.sync();
        assert_eq!(content.now(), b"onetwo");
        assert_eq!(content.left(&mut Dice::strict()), b"\0\0\0two");
    }

    #[test]
    fn reading_ends_with_the_file() {
        let content = Content::sure(b"0123".to_vec());
        assert_eq!(content.read(2, 100), b"23");
        assert_eq!(content.read(9, 1), b"");
    }
}
