//! What is wrong with a file of settings, in words that lead out: which key, where, and the nearest good one.
//!
//! A file is checked as the tree of values that it says, before it becomes a type: a type's own complaint names neither
//! key nor place.

use serde_json::{Map, Value};

use crate::rules::RulesError;

/// Letters that may be wrong, missing or too many in what is still taken for a known word, of at most half of it.
const SLIPS: usize = 3;

/// Keys of one place in a file.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its name in messages.
    pub name: &'a str,
    /// Keys that it may have.
    pub known: &'a [&'a str],
    /// Keys of other places as they would stand in the file, `limits.max_edges`, for who looks for them here.
    pub elsewhere: &'a [&'a str],
}

/// Refuses keys that are not known, with the nearest one that is.
///
/// # Errors
/// [`RulesError::UnknownKey`].
pub fn known_keys(value: &Value, place: Place<'_>) -> Result<(), RulesError> {
    let Some(object) = value.as_object() else { return Ok(()) };
    let Some(key) = object.keys().find(|key| !place.known.contains(&key.as_str())) else { return Ok(()) };
    let bare: Vec<&str> = place.elsewhere.iter().map(|path| path.rsplit('.').next().unwrap_or(path)).collect();
    let path_of = |name: &str| bare.iter().position(|bare| *bare == name).map(|at| place.elsewhere[at]);
    // A key that is right but stands in the wrong place is that, before it is another one misspelt.
    let there = |path: &str| match path.contains('.') {
        true => format!("did you mean '{path}'?"),
        false => format!("did you mean '{path}', at the top of the file?"),
    };
    let suggestion = (path_of(key).map(there))
        .or_else(|| Some(format!("did you mean '{}'?", nearest(key, place.known)?)))
        .or_else(|| path_of(nearest(key, &bare)?).map(there))
        .unwrap_or_else(|| format!("known are: {}", place.known.join(", ")));
    Err(RulesError::UnknownKey { key: key.clone(), place: place.name.to_owned(), suggestion })
}

/// Refuses the first entry of `given` that `accepts` does not take alone. `choices` are the words that a key may say, none
/// where it takes something else; `defaults` has a good value of each key that has one.
///
/// # Errors
/// [`RulesError::WrongValue`].
pub fn good_values(
    given: &Map<String, Value>,
    prefix: &str,
    defaults: &Value,
    choices: impl Fn(&str) -> Vec<String>,
    accepts: impl Fn(Map<String, Value>) -> Result<(), serde_json::Error>,
) -> Result<(), RulesError> {
    for (key, value) in given {
        let Err(error) = accepts(Map::from_iter([(key.clone(), value.clone())])) else { continue };
        let words = choices(key);
        let wrong = match value {
            Value::Array(list) if !words.is_empty() => list.iter().find(|one| !is_among(one, &words)).unwrap_or(value),
            _ => value,
        };
        let reason = if words.is_empty() {
            let example = defaults.get(key).filter(|good| !good.is_null() && !good.is_object());
            format!("{error}{}", example.map_or_else(String::new, |good| format!("; it takes such as {good}")))
        } else {
            let known: Vec<&str> = words.iter().map(String::as_str).collect();
            let meant = wrong.as_str().and_then(|wrong| nearest(wrong, &known));
            let meant = meant.map_or_else(String::new, |meant| format!("did you mean '{meant}'? "));
            let takes = if defaults.get(key).is_some_and(Value::is_array) { "it is a list of" } else { "it is one of" };
            format!("{meant}{takes} {}", words.join(", "))
        };
        return Err(RulesError::WrongValue { key: format!("{prefix}{key}"), value: wrong.to_string(), reason });
    }
    Ok(())
}

fn is_among(value: &Value, words: &[String]) -> bool {
    value.as_str().is_some_and(|value| words.iter().any(|word| word == value))
}

/// The known word that is nearest, if it is near.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &&&str| strsim::levenshtein(word, name);
    let slips = SLIPS.min(word.len() / 2);
    let misspelt = known.iter().min_by_key(distance).filter(|name| distance(name) <= slips);
    // `idle_after` for `idle_after_seconds`.
    misspelt.or_else(|| known.iter().find(|name| word.len() > SLIPS && name.contains(word))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_found_and_what_is_not_is_not_made_up() {
        let known = ["listen", "idle_after_seconds", "max_connections"];
        assert_eq!(nearest("listn", &known), Some("listen"));
        assert_eq!(nearest("idle_after", &known), Some("idle_after_seconds"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("kitten", &["sitting"]), Some("sitting"));
    }

    #[test]
    fn a_key_of_another_place_is_sent_there() {
        let place = Place { name: "the file", known: &["listen", "max_edgy"], elsewhere: &["limits.max_edges"] };
        let told = |key: &str| {
            let value = Value::Object(Map::from_iter([(key.to_owned(), Value::Null)]));
            known_keys(&value, place).unwrap_err().to_string()
        };
        assert_eq!(told("max_edges"), "unknown key 'max_edges' in the file; did you mean 'limits.max_edges'?");
        assert!(told("max_edgz").contains("'max_edgy'"));
        assert!(told("colour").contains("known are: listen, max_edgy"));
    }
}
