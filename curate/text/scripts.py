"""Scripts that are written without spaces between words."""

# A character class of Rust's regex crate (polars).
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
