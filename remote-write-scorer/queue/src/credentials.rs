//! The `Authorization` header of each request.

use ureq::http::HeaderValue;

use crate::config::{Credentials, Secret};

impl Secret {
    fn read(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim().to_owned()),
                Err(error) => Err(format!("{}: {error}", path.display())),
            },
        }
    }
}

impl Credentials {
    /// The header's value as of now; files are read each time.
    ///
    /// # Errors
    /// Why there is none, in words without the secret.
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, String> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Basic { username, .. } if username.contains(':') => {
                return Err(format!("user name {username:?} holds a colon"));
            }
            Self::Basic { username, password } => {
                format!("Basic {}", base64(format!("{username}:{}", password.read()?).as_bytes()))
            }
            Self::Token { scheme, token } => format!("{scheme} {}", token.read()?),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| "the secret cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= group.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10.
        let vectors = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let encoded: Vec<String> = vectors.iter().map(|text| base64(text.as_bytes())).collect();
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials::Basic { username: "me".into(), password: Secret::Text("hush".into()) };
        assert!(!format!("{credentials:?}").contains("hush"));
        let header = credentials.header().unwrap().unwrap();
        assert_eq!(header.to_str().unwrap(), "Basic bWU6aHVzaA==");
        assert!(!format!("{header:?}").contains("bWU6"));
    }

    #[test]
    fn what_cannot_be_a_header_is_refused_without_showing_it() {
        let token = |text: &str| Credentials::Token { scheme: "Bearer".into(), token: Secret::Text(text.into()) };
        let refused = token("a\nb").header().unwrap_err();
        assert!(!refused.contains('a') || !refused.contains("a\nb"), "{refused}");
        let colon = Credentials::Basic { username: "a:b".into(), password: Secret::Text(String::new()) };
        assert!(colon.header().is_err());
    }
}
