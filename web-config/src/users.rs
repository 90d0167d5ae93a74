//! Basic authentication with bcrypt hashes.
//!
//! One bcrypt costs tens of milliseconds on purpose, so results are remembered, good and bad ones apart, under
//! an HMAC of user, hash and password with a key drawn at start: the cache holds no passwords, and a changed
//! hash is another entry. An unknown user costs as much as a wrong password, so that time tells nothing.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use crate::error::WebConfigError;

/// Results remembered of each kind.
const REMEMBERED: usize = 256;
/// Requests that may wait for a check; more are asked to come back.
const WAITING: usize = 32;

/// Users and their hashes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Users {
    hashes: BTreeMap<Arc<str>, Arc<str>>,
    /// Compared with where the user is unknown.
    stand_in: Arc<str>,
}

/// What a request's credentials came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Good: the user.
    User(Arc<str>),
    /// None, malformed or wrong.
    Wrong,
    /// Too many checks are waiting.
    Busy,
}

impl Users {
    /// # Errors
    /// A hash that is not bcrypt.
    pub(crate) fn new(users: BTreeMap<String, String>) -> Result<Self, WebConfigError> {
        for (user, hash) in &users {
            let key = || format!("basic_auth_users.{user}");
            if user.contains(':') {
                return Err(WebConfigError::setting(key(), "a user's name cannot contain a colon"));
            }
            hash.parse::<bcrypt::HashParts>().map_err(|_| {
                WebConfigError::setting(key(), "this is not a bcrypt hash, such as `htpasswd -nBC 10 \"\"` gives")
            })?;
        }
        let stand_in = users.values().next().cloned().unwrap_or_default().into();
        let hashes = users.into_iter().map(|(user, hash)| (user.into(), hash.into())).collect();
        Ok(Self { hashes, stand_in })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// Checks credentials, and remembers results over reloads of the file.
#[derive(Debug)]
pub(crate) struct Checker {
    key: hmac::Key,
    remembered: Mutex<Remembered>,
    working: Arc<Semaphore>,
    waiting: Semaphore,
}

#[derive(Debug, Default)]
struct Remembered {
    good: Recent,
    bad: Recent,
}

/// A set that forgets its oldest.
#[derive(Debug, Default)]
struct Recent {
    set: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Recent {
    fn insert(&mut self, entry: [u8; 32]) {
        if self.set.insert(entry) {
            self.order.push_back(entry);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

impl Checker {
    /// # Errors
    /// Where the system gives no random bytes.
    pub(crate) fn new() -> Result<Self, WebConfigError> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| WebConfigError::setting("basic_auth_users", "the system gives no random bytes"))?;
        Ok(Self {
            key,
            remembered: Mutex::default(),
            working: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(WAITING),
        })
    }

    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the value of an `Authorization` header comes to.
    pub(crate) async fn check(&self, users: &Users, authorization: Option<&[u8]>) -> Verdict {
        let Some((user, password)) = authorization.and_then(credentials) else { return Verdict::Wrong };
        let found = users.hashes.get_key_value(user.as_str());
        let hash = Arc::clone(found.map_or(&users.stand_in, |(_, hash)| hash));
        let verdict = |right: bool| match found {
            Some((user, _)) if right => Verdict::User(Arc::clone(user)),
            _ => Verdict::Wrong,
        };
        let entry = self.entry(&user, &hash, &password);
        {
            let remembered = self.remembered();
            if remembered.good.set.contains(&entry) {
                return verdict(true);
            }
            if remembered.bad.set.contains(&entry) {
                return Verdict::Wrong;
            }
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Verdict::Busy };
        let Ok(turn) = Arc::clone(&self.working).acquire_owned().await else { return Verdict::Busy };
        // The turn ends with the work, also where the asker has gone meanwhile.
        let work = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(&password, &hash).unwrap_or(false);
            drop(turn);
            right
        });
        let right = work.await.unwrap_or(false) && found.is_some();
        let mut remembered = self.remembered();
        let set = if right { &mut remembered.good } else { &mut remembered.bad };
        set.insert(entry);
        verdict(right)
    }

    fn entry(&self, user: &str, hash: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user.as_bytes(), hash.as_bytes(), password] {
            // Lengths keep the parts apart.
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut entry = [0; 32];
        entry.copy_from_slice(context.sign().as_ref());
        entry
    }
}

/// User and password of `Basic ...` (RFC 7617).
fn credentials(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (user, password) = decoded.split_at(colon);
    Some((String::from_utf8(user.to_vec()).ok()?, password[1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(user: &str, password: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))).into_bytes()
    }

    fn users() -> Users {
        let hash = bcrypt::hash("right:password", 4).unwrap();
        Users::new(BTreeMap::from([("ann".to_owned(), hash)])).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_passes_remembered_or_not() {
        let (checker, users) = (Checker::new().unwrap(), users());
        for _ in 0..2 {
            let good = checker.check(&users, Some(&header("ann", "right:password"))).await;
            assert_eq!(good, Verdict::User("ann".into()));
            for wrong in [header("ann", "wrong"), header("bob", "right:password"), b"Bearer x".to_vec(), Vec::new()] {
                assert_eq!(checker.check(&users, Some(&wrong)).await, Verdict::Wrong);
            }
            assert_eq!(checker.check(&users, None).await, Verdict::Wrong);
        }
        assert_eq!(checker.remembered().good.order.len(), 1);
        assert_eq!(checker.remembered().bad.order.len(), 2);
    }

    #[tokio::test]
    async fn a_changed_hash_is_not_answered_from_memory() {
        let (checker, users) = (Checker::new().unwrap(), users());
        let header = header("ann", "right:password");
        assert!(matches!(checker.check(&users, Some(&header)).await, Verdict::User(_)));
        let hash = bcrypt::hash("another", 4).unwrap();
        let changed = Users::new(BTreeMap::from([("ann".to_owned(), hash)])).unwrap();
        assert_eq!(checker.check(&changed, Some(&header)).await, Verdict::Wrong);
    }

    #[test]
    fn the_memory_of_results_is_bounded() {
        let mut recent = Recent::default();
        for index in 0..10_000_u32 {
            let mut entry = [0; 32];
            entry[..4].copy_from_slice(&index.to_le_bytes());
            recent.insert(entry);
        }
        assert_eq!((recent.set.len(), recent.order.len()), (REMEMBERED, REMEMBERED));
    }

    #[test]
    fn what_is_no_bcrypt_hash_is_refused_with_the_user() {
        let error = Users::new(BTreeMap::from([("ann".to_owned(), "secret".to_owned())])).unwrap_err();
        assert!(error.to_string().contains("basic_auth_users.ann"), "{error}");
        assert!(!error.to_string().contains("secret"), "a password in plain text is not repeated");
    }
}
