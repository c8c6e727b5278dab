//! Listening sockets that a service manager hands in, as sd_listen_fds(3) describes.
//!
//! Which is which is said by their names (`FileDescriptorName=public`, `private`), else by their
//! order: public, private. What is not handed in is bound as configured.

use std::net::TcpListener;

use anyhow::Context;
use creel_common::config::Config;
use creel_receiver::Listeners;
use listenfd::ListenFd;

use crate::failure::usage;

/// The names of `FileDescriptorName=`, in the order of sockets without one.
const NAMES: [&str; 2] = ["public", "private"];

/// What was handed in.
#[derive(Debug, Default)]
pub struct Handed {
    public: Option<TcpListener>,
    private: Option<TcpListener>,
}

impl Handed {
    /// Takes what the environment says was handed to this process. Call it before anything else is
    /// opened and before there are threads: descriptors are taken by their numbers.
    ///
    /// # Errors
    /// Sockets that are too many, not named as expected, or not listening TCP sockets.
    pub fn to_this_process() -> anyhow::Result<Self> {
        // without it nothing says that the descriptors are meant for this process
        if std::env::var_os("LISTEN_PID").is_none_or(|pid| pid.is_empty()) {
            return Ok(Self::default());
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        Self::take(ListenFd::from_env(), &names)
    }

    fn take(mut sockets: ListenFd, names: &str) -> anyhow::Result<Self> {
        let mut handed = Self::default();
        for (at, role) in roles(sockets.len(), names)?.into_iter().enumerate() {
            let socket = sockets
                .take_tcp_listener(at)
                .map_err(|error| error.to_string())
                .and_then(|socket| listening(socket.ok_or("it is not there")?))
                .map_err(|why| {
                    usage(format!(
                        "socket {} that was handed in is to be the {role} listener, but {why}; \
                         expected a listening TCP socket (ListenStream=HOST:PORT, Accept=no)",
                        at + 1
                    ))
                })?;
            match role {
                "private" => handed.private = Some(socket),
                _ => handed.public = Some(socket),
            }
        }
        Ok(handed)
    }

    /// Whether they may be used as configured, before anything is made.
    ///
    /// # Errors
    /// A private one that other machines can reach, without TLS.
    pub fn check(&self, config: &Config) -> anyhow::Result<()> {
        match &self.private {
            Some(socket) if config.receiver.private_tls.is_none() => on_loopback(socket),
            _ => Ok(()),
        }
    }

    /// Both listeners: those that were handed in, the others bound as configured. Call it inside a
    /// runtime.
    ///
    /// # Errors
    /// An address that cannot be bound.
    pub fn listeners(self, config: &Config) -> anyhow::Result<Listeners> {
        Ok(Listeners::complete(
            self.public,
            self.private,
            &config.receiver,
        )?)
    }
}

/// What each of `count` sockets is for.
fn roles(count: usize, names: &str) -> anyhow::Result<Vec<&'static str>> {
    let names: Vec<&str> = names.split(':').take(count).collect();
    let known = |name: &&str| NAMES.iter().find(|known| *known == name).copied();
    let found: Vec<Option<&'static str>> = names.iter().map(known).collect();
    let roles = if found.iter().all(Option::is_none) {
        NAMES.into_iter().take(count).collect()
    } else {
        found.into_iter().flatten().collect::<Vec<_>>()
    };
    let twice = roles.len() == 2 && roles[0] == roles[1];
    if roles.len() != count || twice {
        return Err(usage(format!(
            "{count} sockets were handed in, named {names:?}; expected one or two, named `public` \
             and `private` (FileDescriptorName=), or without these names the public listener first"
        )));
    }
    Ok(roles)
}

fn listening(socket: TcpListener) -> Result<TcpListener, String> {
    match rustix::net::sockopt::socket_acceptconn(&socket) {
        Ok(true) => Ok(socket),
        Ok(false) => Err("it is a connection, or does not listen".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// In clear it is for this machine alone: docs/decisions/0006-private-listener-on-loopback.md.
fn on_loopback(socket: &TcpListener) -> anyhow::Result<()> {
    let address = socket.local_addr().context("a socket without an address")?;
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(usage(format!(
        "the private listener that was handed in is bound to {address}, which is not on loopback; \
         expected 127.0.0.1 or [::1], or `receiver.private_tls`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::code;

    #[test]
    fn names_say_which_is_which_and_without_them_the_order_does() {
        let of = |count, names| roles(count, names).expect("good names");
        assert_eq!(of(0, ""), [""; 0]);
        assert_eq!(of(1, ""), ["public"]);
        assert_eq!(of(1, "creel.socket"), ["public"]);
        assert_eq!(of(2, "creel.socket:creel.socket"), ["public", "private"]);
        assert_eq!(of(2, "private:public"), ["private", "public"]);
        assert_eq!(of(1, "private"), ["private"]);
    }

    #[test]
    fn too_many_or_doubtful_ones_are_refused_as_wrong_usage() {
        for (count, names) in [
            (3, ""),
            (3, "public:private:other"),
            (2, "public:other"),
            (2, "public:public"),
            (2, "public"),
        ] {
            let refused = roles(count, names).expect_err(names);
            assert_eq!(code(&refused), 2, "{refused}");
            assert!(refused.to_string().contains("FileDescriptorName="));
        }
    }

    #[test]
    fn a_connection_is_no_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connection = std::net::TcpStream::connect(address).expect("connected");
        let as_listener = TcpListener::from(std::os::fd::OwnedFd::from(connection));
        assert!(listening(as_listener).is_err());
        assert!(listening(listener).is_ok());
    }

    #[test]
    fn a_private_listener_that_others_can_reach_is_refused() {
        let open = TcpListener::bind("0.0.0.0:0").expect("a free port");
        let refused = on_loopback(&open).expect_err("not on loopback");
        assert_eq!(code(&refused), 2, "{refused}");
        let own = TcpListener::bind("127.0.0.1:0").expect("a free port");
        assert!(on_loopback(&own).is_ok());
    }
}
