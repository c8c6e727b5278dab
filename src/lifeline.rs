//! The socket between `creel up` and a child: listeners go down, how the child stands comes up, and
//! its end tells the child that its parent has gone.
//!
//! It is the child's standard input, so that no file descriptor has to be trusted by number. A
//! child whose parent was killed sees the end of it and stops, instead of holding the ports and
//! the log of a service nobody supervises.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// What a child says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// It serves: a receiver can be reached, a worker leases.
    Ready = b'r',
    /// A receiver lives, and takes deliveries.
    Taking = b't',
    /// A receiver lives, and takes none just now.
    Refusing = b'f',
    /// A receiver has taken the configuration of now over.
    Reloaded = b'g',
    /// A receiver keeps the configuration that it had.
    Kept = b'k',
}

impl Word {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Ready,
            Self::Taking,
            Self::Refusing,
            Self::Reloaded,
            Self::Kept,
        ]
        .into_iter()
        .find(|word| *word as u8 == byte)
    }
}

/// What goes along with the listeners.
const LISTENERS: u8 = b'l';
/// Instead of listeners: the child is to bind its own.
const NONE: u8 = b'n';

/// The parent's end and what the child gets as its standard input.
///
/// # Errors
/// When the process has no file descriptors left.
pub fn pair() -> anyhow::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
    Ok((ours, theirs.into()))
}

/// Hands the public and the private listener to the child; it gets copies of them.
///
/// # Errors
/// When the socket is closed.
pub fn hand_over(
    socket: &UnixStream,
    public: &TcpListener,
    private: &TcpListener,
) -> anyhow::Result<()> {
    let listeners = [public.as_fd(), private.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    ensure!(
        message.push(SendAncillaryMessage::ScmRights(&listeners)),
        "no room for two listeners"
    );
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(&[LISTENERS])],
        &mut message,
        SendFlags::NOSIGNAL,
    )
    .context("cannot hand over the listeners")?;
    Ok(())
}

/// Tells a receiver that it gets no listeners and is to bind its own.
///
/// # Errors
/// When the socket is closed.
pub fn hand_over_none(socket: &UnixStream) -> anyhow::Result<()> {
    let mut socket = socket;
    socket.write_all(&[NONE]).context("cannot tell a child")
}

/// A child's end.
#[derive(Clone)]
pub struct Lifeline(Arc<UnixStream>);

impl Lifeline {
    /// The lifeline of this process: its standard input.
    ///
    /// # Errors
    /// When standard input is no socket of `creel up`.
    pub fn of_this_process() -> anyhow::Result<Self> {
        let input = rustix::io::dup(rustix::stdio::stdin())
            .context("standard input is closed; --supervised is for `creel up`")?;
        let socket = UnixStream::from(input);
        socket
            .peer_addr()
            .context("standard input is no socket; --supervised is for `creel up`")?;
        Ok(Self(Arc::new(socket)))
    }

    /// Takes the listeners that were handed over; `None` when the child is to bind its own.
    ///
    /// # Errors
    /// When the parent has gone or says something else.
    #[cfg(feature = "receiver")]
    pub fn listeners(&self) -> anyhow::Result<Option<creel_receiver::Listeners>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut message = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        rustix::net::recvmsg(
            &*self.0,
            &mut [IoSliceMut::new(&mut byte)],
            &mut message,
            RecvFlags::CMSG_CLOEXEC,
        )
        .context("cannot take the listeners")?;
        if byte == [NONE] {
            return Ok(None);
        }
        let mut listeners = message
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .map(TcpListener::from);
        let mut next = || listeners.next().context("no listeners were handed over");
        Ok(Some(creel_receiver::Listeners {
            public: next()?,
            private: next()?,
        }))
    }

    /// Tells the parent how this process stands. A parent that does not listen misses it.
    pub fn say(&self, word: Word) {
        // one that has gone is noticed by `watch`
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = rustix::net::send(&*self.0, &[word as u8], flags);
    }

    /// Calls `gone` from a thread of its own when the parent has gone.
    pub fn watch(self, gone: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        std::thread::Builder::new()
            .name("lifeline".into())
            .spawn(move || {
                let mut byte = [0];
                while matches!((&*self.0).read(&mut byte), Ok(1)) {}
                gone();
            })
            .context("cannot start a thread")?;
        Ok(())
    }
}

/// The next word of a child; `None` when it has ended.
pub async fn heard(socket: &tokio::net::UnixStream) -> Option<Word> {
    let mut byte = [0];
    loop {
        socket.readable().await.ok()?;
        match socket.try_read(&mut byte) {
            Ok(1) => return Word::of(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifeline(theirs: OwnedFd) -> Lifeline {
        Lifeline(Arc::new(theirs.into()))
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("a free port")
    }

    #[test]
    fn listeners_arrive_in_order_and_still_listen() {
        let (ours, theirs) = pair().expect("a pair");
        let (public, private) = (listener(), listener());
        hand_over(&ours, &public, &private).expect("handed over");
        let handed = lifeline(theirs).listeners().expect("taken").expect("some");
        let address = |l: &TcpListener| l.local_addr().expect("bound");
        assert_eq!(address(&handed.public), address(&public));
        assert_eq!(address(&handed.private), address(&private));
        drop((public, private));
        let connected = std::net::TcpStream::connect(address(&handed.public));
        assert!(connected.is_ok(), "{connected:?}");
    }

    #[test]
    fn without_listeners_a_child_says_so() {
        let (mut ours, theirs) = pair().expect("a pair");
        ours.write_all(b"x").expect("open");
        assert!(lifeline(theirs).listeners().is_err());
    }

    #[test]
    fn a_child_may_be_told_to_bind_its_own() {
        let (ours, theirs) = pair().expect("a pair");
        hand_over_none(&ours).expect("open");
        assert!(lifeline(theirs).listeners().expect("told").is_none());
    }

    #[test]
    fn a_child_learns_that_its_parent_has_gone() {
        let (ours, theirs) = pair().expect("a pair");
        let (tell, told) = std::sync::mpsc::channel();
        lifeline(theirs)
            .watch(move || tell.send(()).expect("somebody waits"))
            .expect("a thread");
        drop(ours);
        told.recv().expect("it was told");
    }

    #[tokio::test]
    async fn what_a_child_says_is_heard_and_so_is_its_end() {
        let (ours, theirs) = pair().expect("a pair");
        let child = lifeline(theirs);
        let words = [
            Word::Ready,
            Word::Refusing,
            Word::Taking,
            Word::Reloaded,
            Word::Kept,
        ];
        words.into_iter().for_each(|word| child.say(word));
        drop(child);
        ours.set_nonblocking(true).expect("a socket");
        let ours = tokio::net::UnixStream::from_std(ours).expect("a runtime");
        for word in words {
            assert_eq!(heard(&ours).await, Some(word));
        }
        assert_eq!(heard(&ours).await, None);
    }

    #[test]
    fn a_parent_that_does_not_listen_holds_nobody_up() {
        let (ours, theirs) = pair().expect("a pair");
        let child = lifeline(theirs);
        (0..100_000).for_each(|_| child.say(Word::Taking));
        drop(ours);
        child.say(Word::Taking);
    }
}
