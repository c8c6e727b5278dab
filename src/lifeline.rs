//! The socket between `creel up` and a child: listeners go down, "ready" comes up, and its end
//! tells the child that its parent has gone.
//!
//! It is the child's standard input, so that no file descriptor has to be trusted by number. A
//! child whose parent was killed sees the end of it and stops, instead of holding the ports and
//! the log of a service nobody supervises.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// What a child writes once it serves.
const READY: u8 = b'r';
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
pub struct Lifeline(UnixStream);

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
        Ok(Self(socket))
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
            &self.0,
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

    /// Tells the parent that this process serves now.
    pub fn ready(&self) {
        // a parent that has gone is noticed by `gone`
        let _ = (&self.0).write_all(&[READY]);
    }

    /// Calls `gone` from a thread of its own when the parent has gone.
    pub fn watch(self, gone: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        std::thread::Builder::new()
            .name("lifeline".into())
            .spawn(move || {
                let mut byte = [0];
                while matches!((&self.0).read(&mut byte), Ok(1)) {}
                gone();
            })
            .context("cannot start a thread")?;
        Ok(())
    }
}

/// Waits until the child says that it serves; `false` when it ended instead.
pub async fn until_ready(socket: &tokio::net::UnixStream) -> bool {
    let mut byte = [0];
    loop {
        if socket.readable().await.is_err() {
            return false;
        }
        match socket.try_read(&mut byte) {
            Ok(1) => return byte[0] == READY,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").expect("a free port")
    }

    #[test]
    fn listeners_arrive_in_order_and_still_listen() {
        let (ours, theirs) = pair().expect("a pair");
        let (public, private) = (listener(), listener());
        hand_over(&ours, &public, &private).expect("handed over");
        let handed = Lifeline(theirs.into())
            .listeners()
            .expect("taken")
            .expect("some");
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
        assert!(Lifeline(theirs.into()).listeners().is_err());
    }

    #[test]
    fn a_child_may_be_told_to_bind_its_own() {
        let (ours, theirs) = pair().expect("a pair");
        hand_over_none(&ours).expect("open");
        assert!(Lifeline(theirs.into()).listeners().expect("told").is_none());
    }

    #[test]
    fn a_child_learns_that_its_parent_has_gone() {
        let (ours, theirs) = pair().expect("a pair");
        let (tell, told) = std::sync::mpsc::channel();
        Lifeline(theirs.into())
            .watch(move || tell.send(()).expect("somebody waits"))
            .expect("a thread");
        drop(ours);
        told.recv().expect("it was told");
    }

    #[tokio::test]
    async fn a_child_that_ends_is_not_ready() {
        for ready in [true, false] {
            let (ours, theirs) = pair().expect("a pair");
            let child = Lifeline(theirs.into());
            if ready {
                child.ready();
            }
            drop(child);
            ours.set_nonblocking(true).expect("a socket");
            let ours = tokio::net::UnixStream::from_std(ours).expect("a runtime");
            assert_eq!(until_ready(&ours).await, ready);
        }
    }
}
