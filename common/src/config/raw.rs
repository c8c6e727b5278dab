//! The file as typed: every value of the right shape, by its key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::places::join;
use crate::time::Timestamp;

/// A value of the right shape.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `Text`, `Name`, `Id`, `Lines`, `EnvVar`, `Url`, `MediaType`, `Choice`, `Provider`, `Kind`
    Text(String),
    /// `Path`, resolved
    Path(PathBuf),
    /// `Address`
    Address(SocketAddr),
    /// `Network`
    Network(IpNet),
    /// `Duration`
    Duration(Duration),
    /// `Time`
    Time(Timestamp),
    /// `Size`, `Count`
    Whole(u64),
    /// `Factor`, `Rate`
    Number(f64),
    /// `List`, `OneOrMore`
    List(Vec<Value>),
    /// `Texts`
    Texts(BTreeMap<String, String>),
    /// `Section`, `Secret`
    Section(Fields),
    /// `Named`
    Named(BTreeMap<String, Fields>),
}

/// A section that was read: what was given and understood, and the defaults of what was not given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields {
    /// Where it stands, such as `routes[2]`.
    pub path: String,
    pub(super) values: BTreeMap<&'static str, Value>,
    /// What somebody else checks, in a section that has such.
    pub others: toml::Table,
}

impl Fields {
    /// The value of `key`, if it was given or has a default, and is in order.
    pub fn opt<T: FromValue>(&self, key: &str) -> Option<T> {
        self.values.get(key).cloned().and_then(T::from_value)
    }

    /// The value of a key that is required or has a default, once nothing was found wrong.
    pub fn get<T: FromValue>(&self, key: &str) -> T {
        self.opt(key)
            .expect("a file without problems has every key that is required or has a default")
    }

    /// The path of one of its keys.
    pub fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

/// A type that a [`Value`] can be taken as.
pub trait FromValue: Sized {
    /// `None` if it is of another shape.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($variant:ident => $type:ty),* $(,)?) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$variant(inner) => inner.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

from_value! {
    Text => String,
    Path => PathBuf,
    Address => SocketAddr,
    Network => IpNet,
    Duration => Duration,
    Time => Timestamp,
    Whole => u64,
    Whole => u32,
    Whole => usize,
    Number => f64,
    Texts => BTreeMap<String, String>,
    Section => Fields,
    Named => BTreeMap<String, Fields>,
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::List(items) => items.into_iter().map(T::from_value).collect(),
            _ => None,
        }
    }
}
