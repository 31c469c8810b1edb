//! Channel pages as they look, as they looked, and as they should not look.

use super::*;

/// 1 March 2025, noon UTC.
const NOW: i64 = 1_740_830_400_000;

fn fixture(html: &str) -> Result<ChannelPage, Unreadable> {
    channel(html.as_bytes(), "city_desk", NOW)
}

#[test]
fn a_preview_page_gives_each_post_with_its_own_words_only() {
    let page = fixture(include_str!("../../fixtures/channel.html")).unwrap();
    assert_eq!((page.title.as_str(), page.before), ("City Desk 🗞", Some(340)));
    let ids: Vec<&str> = page.posts.iter().map(|post| post.id.as_str()).collect();
    assert_eq!(ids, ["340", "341", "343"], "a note of the service and a picture without words are no posts");
    assert_eq!(
        page.posts[0],
        Post {
            id: "340".into(),
            at: Some(1_740_808_807_000),
            title: None,
            text: "The old bridge reopens on Monday 🌉\n\nTraffic & trams return at 06:00, the council said.\nDetails:"
                .into(),
            url: "https://t.me/City_Desk/340".into(),
            views: Some(1_230_000),
            edited: false,
        }
    );
    let edited = &page.posts[1];
    assert_eq!(edited.text, "Trams 3 and 5 run on Tuesday on Monday.\n\nNo change for line 9.\n\nMore later");
    assert_eq!((edited.edited, edited.views, edited.at), (true, Some(987), Some(1_740_806_100_000)));
    assert_eq!((page.posts[2].at, page.posts[2].text.as_str()), (None, "A post without a time"));
}

#[test]
fn the_older_and_plainer_layout_is_read_too() {
    let page = fixture(include_str!("../../fixtures/channel-old.html")).unwrap();
    assert_eq!((page.title.as_str(), page.before), ("City Desk", Some(12)));
    assert_eq!(page.posts[0].text, "Школы закрыты до пятницы");
    assert_eq!(page.posts[0].views, Some(1200));
    assert_eq!(page.posts[1].text, "מזג האוויר היום 🌧 حالة الطقس");
}

#[test]
fn a_channel_without_preview_a_new_layout_and_another_page_are_told_apart() {
    assert_eq!(fixture(include_str!("../../fixtures/channel-no-preview.html")), Err(Unreadable::NoPreview));
    let nobody = "<div class=tgme_page><div class=tgme_page_icon><i class=tgme_icon_user></i></div>\
        <div class=tgme_page_description>If you have Telegram, you can contact @city_desk right away.</div></div>";
    assert_eq!(fixture(nobody), Err(Unreadable::NoChannel));
    let changed = include_str!("../../fixtures/channel.html").replace("tgme_widget_", "tgx_");
    assert_eq!(fixture(&changed), Err(Unreadable::LayoutChanged));
    let other_words = include_str!("../../fixtures/channel-old.html")
        .replace("tgme_widget_message_text", "tgme_words")
        .replace("datetime", "data-when");
    assert_eq!(fixture(&other_words), Err(Unreadable::LayoutChanged));
    for other in ["", "<html><body><h1>Bad gateway</h1></body></html>", "\0\0\0", "{\"ok\":true}"] {
        assert_eq!(fixture(other), Err(Unreadable::NoChannel), "{other}");
    }
}

#[test]
fn a_channel_without_posts_is_empty_and_not_broken() {
    let html = "<div class=tgme_channel_info>x</div><div class=tme_no_messages_found>No posts found</div>";
    assert_eq!(fixture(html).unwrap().posts, []);
}

#[test]
fn of_replies_to_replies_only_the_posts_own_words_are_told() {
    let reply = |inner: &str| {
        format!(
            "<a class=tgme_widget_message_reply href=x><div class=tgme_widget_message_text>theirs{inner}</div></a>"
        )
    };
    let nested = reply(&reply(&reply("")));
    let deep =
        (0..20_000).fold(String::new(), |out, _| out + "<a class=tgme_widget_message_reply><div>theirs");
    for replies in [nested.as_str(), &deep] {
        let html = format!(
            "<div class=tgme_channel_info>x</div><div class=tgme_widget_message data-post=city_desk/1>{replies}\
             <div class=tgme_widget_message_text>Our own words</div><time datetime=2025-03-01T08:00:00Z></time></div>"
        );
        let posts = fixture(&html).map(|page| page.posts).unwrap_or_default();
        assert!(posts.iter().all(|post| !post.text.contains("theirs")), "{posts:?}");
        if replies == nested {
            assert_eq!(posts[0].text, "Our own words");
        }
    }
}

#[test]
fn the_last_of_two_posts_with_one_number_counts() {
    let post = |text: &str, number: &str| {
        format!(
            "<div class=tgme_widget_message data-post='city_desk/{number}'><div class=tgme_widget_message_text>{text}</div></div>"
        )
    };
    let html = post("second", "8") + &post("first", "7") + &post("second, mended", "8") + &post("x", "0x9");
    let texts: Vec<String> = fixture(&html).unwrap().posts.into_iter().map(|post| post.text).collect();
    assert_eq!(texts, ["first", "second, mended"]);
}

#[test]
fn posts_of_another_channel_are_not_taken_for_this_one() {
    let html = "<div class=tgme_widget_message data-post='city_desk/1'><div class=tgme_widget_message_text>ours</div></div>\
                <div class=tgme_widget_message data-post='elsewhere/2'><div class=tgme_widget_message_text>theirs</div></div>";
    let posts = fixture(html).unwrap().posts;
    assert_eq!(posts.len(), 1);
    assert_eq!(posts[0].url, "https://t.me/city_desk/1");
    let only_other = html.replace("city_desk", "city_desk_2");
    assert_eq!(fixture(&only_other).unwrap().posts[0].url, "https://t.me/city_desk_2/1");
}

#[test]
fn views_are_numbers() {
    let rows =
        [("987", Some(987)), ("1.2K", Some(1200)), ("5,38M", Some(5_380_000)), ("1B", Some(1_000_000_000))];
    for (text, number) in rows {
        assert_eq!(views(text), number);
    }
    for text in ["", "K", "-3", "many", "NaN", "inf", "1e99"] {
        assert_eq!(views(text), None, "{text}");
    }
}
