//! 64-bit FNV-1a (Fowler, Noll & Vo), to tell runs and files apart; no protection against intent.

/// A digest under way.
#[derive(Debug, Clone)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Digest {
    /// Takes in more bytes.
    pub fn eat(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    /// The digest of all bytes so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_published_one() {
        let mut digest = Digest::default();
        digest.eat(b"foobar");
        assert_eq!(digest.value(), 0x8594_4171_F739_67E8);
    }
}
