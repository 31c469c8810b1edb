//! Articles of pages as they are built.

use super::*;

/// 1 March 2025, noon UTC.
const NOW: i64 = 1_740_830_400_000;

fn read(html: &str) -> Article {
    article(html.as_bytes(), "text/html; charset=utf-8", None, NOW)
}

#[test]
fn the_text_is_what_somebody_came_for() {
    let article = read(include_str!("../../fixtures/article.html"));
    assert_eq!(article.title.as_deref(), Some("The old bridge reopens on Monday"));
    assert_eq!(article.published_at, Some(1_740_808_800_000));
    assert_eq!(
        article.text,
        "After eleven months of work the old bridge opens to trams and cars on Monday morning, the council said.\n\n\
         Engineers replaced 340 steel beams, and the deck was raised by almost twenty centimetres.\n\n\
         What changes\n\nTrams 3 and 5 return to their old route, but night buses keep the detour until April.\n\n\
         “We are glad that it is over,” said Anna Example, who lives beside it."
    );
}
