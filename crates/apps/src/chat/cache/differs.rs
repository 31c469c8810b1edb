//! Whether two questions that sound alike ask for different things. Vectors are nearly blind to the little words that
//! change an answer, so these are compared one by one: numbers, negations, quoted words, names, named files.
//!
//! Invariant: false only when all of these are the same, as often, in both. It may say true of questions that mean the
//! same; then the model is asked. Source: gateway design section 12.

/// Numbers in words, of the languages we speak.
const NUMBERS: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "dozen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "hundred",
    "thousand",
    "million",
    "billion",
    "half",
    "third",
    "quarter",
    "double",
    "twice",
    "first",
    "second",
    "last",
    "next",
    "ноль",
    "один",
    "одна",
    "два",
    "две",
    "три",
    "четыре",
    "пять",
    "шесть",
    "семь",
    "восемь",
    "девять",
    "десять",
    "сто",
    "тысяча",
    "миллион",
    "половина",
    "первый",
    "второй",
    "последний",
    "nul",
    "een",
    "twee",
    "drie",
    "vier",
    "vijf",
    "zes",
    "zeven",
    "acht",
    "negen",
    "tien",
    "honderd",
    "duizend",
    "miljoen",
    "helft",
    "eerste",
    "tweede",
    "laatste",
];

/// Words that turn a question round.
const NEGATIONS: &[&str] = &[
    "not",
    "no",
    "never",
    "none",
    "nothing",
    "nobody",
    "nor",
    "neither",
    "without",
    "except",
    "cannot",
    "unless",
    "but",
    "only",
    "before",
    "after",
    "more",
    "less",
    "most",
    "least",
    "не",
    "нет",
    "ни",
    "никогда",
    "ничего",
    "никто",
    "без",
    "кроме",
    "нельзя",
    "только",
    "до",
    "после",
    "больше",
    "меньше",
    "niet",
    "geen",
    "nooit",
    "niets",
    "niemand",
    "zonder",
    "behalve",
    "alleen",
    "voor",
    "na",
    "meer",
    "minder",
];

/// See the module.
pub(super) fn differ(one: &str, other: &str) -> bool {
    telling(one) != telling(other)
}

/// What of a text must be the same, in order of the alphabet.
fn telling(text: &str) -> Vec<String> {
    let mut found = quotes(text);
    let mut opens = true;
    for word in text.split_whitespace() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '-' && c != '+' && c != '/');
        let lower = bare.to_lowercase();
        if is_number(&lower) || is_negation(&lower) || is_file(bare) || (!opens && is_name(bare)) {
            found.push(lower);
        }
        opens = word.ends_with(['.', '!', '?', ':']);
    }
    found.sort_unstable();
    found
}

/// A digit anywhere (`3`, `-4.5`, `gpt-4`, `2nd`, `10%`), or a number in words.
fn is_number(word: &str) -> bool {
    word.chars().any(char::is_numeric) || word.split('-').any(|piece| NUMBERS.contains(&piece))
}

fn is_negation(word: &str) -> bool {
    let plain = word.replace('’', "'");
    NEGATIONS.contains(&word) || plain.ends_with("n't")
}

/// `a.txt`, `src/main.rs`, `C:\x`, addresses.
fn is_file(word: &str) -> bool {
    let dotted = word.rsplit_once('.').is_some_and(|(name, ending)| {
        !name.is_empty() && (1..=6).contains(&ending.len()) && ending.chars().all(char::is_alphanumeric)
    });
    dotted || word.contains(['/', '\\', '@', '_'])
}

/// A capital inside a sentence: a name, or an abbreviation.
fn is_name(word: &str) -> bool {
    word.chars().any(char::is_uppercase)
}

/// What stands between quotation marks.
fn quotes(text: &str) -> Vec<String> {
    const PAIRS: [(char, char); 6] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('`', '`'), ('‘', '’')];
    let mut found = Vec::new();
    for (open, close) in PAIRS {
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once(open)
            && let Some((inside, after)) = behind.split_once(close)
        {
            found.push(format!("{open}{inside}"));
            rest = after;
        }
    }
    // An apostrophe opens only where a word begins.
    let single = text.split(|c: char| c.is_whitespace() || c == '(').filter(|word| word.starts_with('\''));
    found.extend(single.map(str::to_owned));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_differ_in_a_little_word_that_matters_differ() {
        for (one, other) in [
            ("What do 2 apples cost?", "What do 3 apples cost?"),
            ("What do two apples cost?", "What do three apples cost?"),
            ("Is it safe to eat?", "Is it not safe to eat?"),
            ("Can I mix these?", "Can't I mix these?"),
            ("Which of these is allowed?", "Which of these isn’t allowed?"),
            ("Explain \"foo\" to me", "Explain \"bar\" to me"),
            ("Explain 'foo' to me", "Explain 'bar' to me"),
            ("What does «кот» mean?", "What does «кит» mean?"),
            ("Summarise report.pdf please", "Summarise notes.pdf please"),
            ("What does src/main.rs do?", "What does src/lib.rs do?"),
            ("What is the capital of France?", "What is the capital of Spain?"),
            ("Is GPT-4 good?", "Is GPT-5 good?"),
            ("Можно ли это есть?", "Не можно ли это есть?"),
            ("Mag ik dit eten?", "Mag ik dit niet eten?"),
            ("What was before the war?", "What was after the war?"),
            ("Write to a@x.org", "Write to b@x.org"),
            ("-4 degrees", "4 degrees"),
        ] {
            assert!(differ(one, other) && differ(other, one), "{one} / {other}");
        }
    }

    #[test]
    fn questions_that_say_the_same_in_other_words_do_not() {
        for (one, other) in [
            ("How do I reset my password?", "how can I reset my password"),
            ("What do 2 apples cost?", "How much are 2 apples?"),
            ("Don't I need a key?", "Don't I require a key?"),
            ("What is the capital of France?", "Which city is the capital of France?"),
            ("It's late. What now?", "It's late! What now?"),
        ] {
            assert!(!differ(one, other), "{one} / {other}: {:?} {:?}", telling(one), telling(other));
        }
    }
}
