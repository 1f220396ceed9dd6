//! What a record is known by.

use std::fmt;

use sha2::{Digest, Sha256};

/// Which record: SHA-256 over all that the key's scope consists of.
///
/// It is compared in full, and two different keys have the same one only if
/// somebody finds a collision of SHA-256. A store sees nothing else of the key, of
/// who asks or of the path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; 32]);

impl RecordKey {
    /// The key of these parts, in this order: the operation, its version, who
    /// asks, what the client calls the request. Each is framed by its length, so
    /// that `["ab", "c"]` and `["a", "bc"]` are different keys.
    ///
    /// **Who asks belongs into it**: a record is handed to everybody who names its
    /// key.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// Its bytes, for stores.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RecordKey {
    // A part of it tells records apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_start(f, "RecordKey", &self.0)
    }
}

/// What was asked for under a key: SHA-256 over the payload. The same key with
/// another fingerprint is another request, and is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a payload.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        Self(Sha256::digest(payload).into())
    }

    /// A fingerprint made elsewhere, for example from some fields of a payload.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for stores.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of what was fed to a hasher.
    #[cfg(feature = "http")]
    pub(super) fn of_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_start(f, "Fingerprint", &self.0)
    }
}

fn write_start(f: &mut fmt::Formatter<'_>, name: &str, bytes: &[u8; 32]) -> fmt::Result {
    let [a, b, c, d, ..] = bytes;
    write!(f, "{name}({a:02x}{b:02x}{c:02x}{d:02x}..)")
}

/// A fencing token: each grant of a key has a larger one than the grant before.
///
/// Only the holder of the latest one may complete a record. An effect that is
/// written elsewhere can be fenced by it, too: who has seen a larger token for the
/// key refuses the smaller one (Kleppmann, "How to do distributed locking", 2016).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(u64);

impl Token {
    /// A token of a store's own counting.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Who asks for a grant: random for each request, so that one who has not heard
/// the store's answer may ask again and is not taken for a duplicate of itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owner(u128);

impl Owner {
    /// Nobody else.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// This one.
    #[must_use]
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// Its number, for stores.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_fingerprint_is_sha_256() {
        let print = Fingerprint::of(b"POST\n/v1/charges\n{\"amount\":100}");
        assert_eq!(
            hex(print.as_bytes()),
            "415e41b635568743e69163d717c81d56468c057882bbd31ae34a6032d6bf9c3b"
        );
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let keys = [
            RecordKey::of(&[b"ab", b"c"]),
            RecordKey::of(&[b"a", b"bc"]),
            RecordKey::of(&[b"abc"]),
            RecordKey::of(&[b"abc", b""]),
            RecordKey::of(&[b"", b"abc"]),
        ];
        for (i, key) in keys.iter().enumerate() {
            assert!(!keys[..i].contains(key), "{i}");
        }
    }
}
