//! Lines that a source puts below most of its posts ("subscribe to ..."). Invariant: a post is never cut to nothing. Pure.
//! Source: news.md section 4.

use ahash::AHashMap;

/// Newest posts of a source that are looked at.
pub(crate) const LOOKED_AT: usize = 20;
/// Posts below which nothing can be told.
const FEWEST: usize = 4;
/// Share of posts, in percent, that a line must end.
const SHARE: usize = 60;
/// Most lines cut from one post.
const MOST_LINES: usize = 8;

/// The lines that end most of these posts; a line that ends a post once the one below it is cut counts too.
pub(crate) fn habits(posts: &[&str]) -> Vec<String> {
    let posts = &posts[..posts.len().min(LOOKED_AT)];
    let mut found: Vec<String> = Vec::new();
    if posts.len() < FEWEST {
        return found;
    }
    for _ in 0..MOST_LINES {
        let mut counts = AHashMap::<&str, usize>::new();
        for post in posts {
            if let Some(last) = lines(cut(post, &found)).last() {
                *counts.entry(last).or_default() += 1;
            }
        }
        let more: Vec<String> = counts
            .into_iter()
            .filter(|(line, count)| {
                count * 100 >= SHARE * posts.len() && !found.iter().any(|old| old == line)
            })
            .map(|(line, _)| line.to_owned())
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    found
}

/// The post without such lines at its end; itself where nothing else is in it.
pub(crate) fn cut<'a>(post: &'a str, habits: &[String]) -> &'a str {
    let mut rest = post.trim_end();
    while let Some(last) = lines(rest).last().filter(|last| habits.iter().any(|habit| habit == last)) {
        rest = rest[..rest.len() - last.len()].trim_end();
    }
    if rest.trim().is_empty() { post } else { rest }
}

fn lines(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_below_most_posts_is_cut_and_nothing_else() {
        let posts: Vec<String> = (0..10)
            .map(|n| {
                format!("Event number {n} took place.\nIt was fine.\n\nSubscribe to us\nRead more below")
            })
            .collect();
        let mut all: Vec<&str> = posts.iter().map(String::as_str).collect();
        all.push("A post without a tail.");
        let habits = habits(&all);
        assert!(
            habits.contains(&"Subscribe to us".to_owned()) && habits.contains(&"Read more below".to_owned())
        );
        let last = all.len() - 1;
        assert_eq!(cut(all[last], &habits), "A post without a tail.");
        // "It was fine." ends most posts too, once the tail is cut: it is a habit of this source.
        assert_eq!(cut(all[0], &habits), "Event number 0 took place.");
        assert_eq!(cut("Subscribe to us", &habits), "Subscribe to us", "never to nothing");
        assert_eq!(super::habits(&all[..3]), Vec::<String>::new());
    }
}
