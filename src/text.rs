//! Truncates long foreign text.

use std::borrow::Cow;

/// A text of at most so many bytes: one that is longer is cut, and ends in how long it was.
pub(crate) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let end = format!("… ({} bytes)", text.len());
    let kept = text.floor_char_boundary(limit.saturating_sub(end.len()));
    Cow::Owned(format!("{}{end}", &text[..kept]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_how_long_it_was() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut(&"é".repeat(20), 25), "ééééé… (40 bytes)");
        for limit in 0..60 {
            let text = cut("ab€defghijklmnopqrstuvwxyz0123456789", limit);
            assert!(text.len() <= limit.max("… (38 bytes)".len()), "{limit}: {text}");
        }
    }
}
