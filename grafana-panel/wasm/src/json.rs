//! Just enough JSON writing for reports to the page: no reader, no allocation beyond the text itself.

/// Appends a string with its quotes.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a number that reads back as the same bits; `null` where JSON has none (NaN, infinities).
pub fn number(out: &mut String, value: f64) {
    if value.is_finite() { out.push_str(&format!("{value:?}")) } else { out.push_str("null") }
}

/// Appends a number or `null`.
pub fn optional(out: &mut String, value: Option<f64>) {
    number(out, value.unwrap_or(f64::NAN));
}

/// Appends a string or `null`.
pub fn optional_string(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.push_str("null"),
    }
}

/// Appends a list.
pub fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut String, T)) {
    out.push('[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

/// One field of an object: its name and what writes its value.
pub type Field<'a> = (&'a str, &'a dyn Fn(&mut String));

/// Appends an object.
pub fn object(out: &mut String, fields: &[Field<'_>]) {
    out.push('{');
    for (place, (name, value)) in fields.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        value(out);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_refuses_to_write_what_json_lacks() {
        let mut out = String::new();
        object(
            &mut out,
            &[
                ("a\"\\\n", &|o| list(o, [1.5, f64::NAN, 1e-9], number)),
                ("b", &|o| optional_string(o, None)),
                ("c", &|o| optional(o, Some(3.0))),
            ],
        );
        assert_eq!(out, r#"{"a\"\\\u000a":[1.5,null,1e-9],"b":null,"c":3.0}"#);
    }
}
