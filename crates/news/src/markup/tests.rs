//! Tokens and trees of what the web is made of.

use super::{entities::decoded, *};

fn outline(html: &str) -> String {
    fn node(tree: &Tree<'_>, range: std::ops::Range<usize>, out: &mut String) {
        let mut at = range.start;
        while at < range.end {
            match tree.kind(at).unwrap() {
                Kind::Text(text) => out.push_str(text),
                Kind::Element(tag) => {
                    out.push_str(&tag.name);
                    out.push('(');
                    node(tree, tree.inside(at), out);
                    out.push(')');
                }
            }
            at = tree.inside(at).end;
        }
    }
    let tree = Tree::html(html);
    let mut out = String::new();
    node(&tree, 0..tree.len(), &mut out);
    out
}

#[test]
fn tags_are_closed_as_browsers_close_them() {
    let rows = [
        ("<p>a<p>b<div>c</div>", "p(a)p(b)div(c)"),
        ("<ul><li>a<li>b<ul><li>c</ul></ul>d", "ul(li(a)li(bul(li(c))))d"),
        ("<table><tr><td>a<td>b<tr><td>c</table>d", "table(tr(td(a)td(b))tr(td(c)))d"),
        ("<div><td>a</div>b", "div(td(a</div>b))"),
        ("<b><div>a</b>b</div>c", "b(div(ab))c"),
        ("<a href=x>a<a href=y>b</a>c", "a(a)a(b)c"),
        ("<a>x<div>a<a>b</a>c</div></a>d", "a(xdiv(aa(b)c))d"),
        ("<a>x<table><tr><td>a<a>b</table>c</a>d", "a(xtable(tr(td(aa(b))))c)d"),
        ("</p></div>a<br/>b<img src=x>c", "abr()bimg()c"),
        ("<div>a</span></b>b</div>", "div(ab)"),
        ("<svg><path/><g/>x</svg>y", "svg(path()g()x)y"),
        ("<dl><dt>a<dd>b<dt>c</dl>", "dl(dt(a)dd(b)dt(c))"),
        ("<DIV>a</Div>b", "div(a)b"),
    ];
    for (html, wanted) in rows {
        assert_eq!(outline(html), wanted.replace("</div>", ""), "{html}");
    }
}

#[test]
fn text_that_is_no_markup_stays_text() {
    let rows = [
        ("1 < 2 && 3<4", "1 < 2 && 3<4"),
        ("<script>if (a<b) '</p>'</script>x", "script(if (a<b) '</p>')x"),
        ("<title>a &amp; <b></title>x", "title(a & <b>)x"),
        ("a<!-- <p> -- > -->b<!-->c<!--x--!>d", "abcd"),
        ("<?php x ?>a<!doctype html>b<![CDATA[c]]>d", "abd"),
        ("a<p title=\"x>y\" id='<'>b", "ap(b)"),
        ("a<p", "a"),
        ("a<!-- no end", "a"),
    ];
    for (html, wanted) in rows {
        assert_eq!(outline(html), wanted, "{html}");
    }
}

#[test]
fn references_are_decoded_once() {
    let rows = [
        ("&amp;lt;", "&lt;"),
        ("&lt;b&gt; &copy &eacute;&nbsp;x", "<b> © é\u{a0}x"),
        ("&#1055;&#x440;&#X438;&#150;", "При–"),
        ("&#0;&#x110000;&#xd800;", "\u{fffd}\u{fffd}\u{fffd}"),
        ("&unknown; &; &# &#x; & a&b", "&unknown; &; &# &#x; & a&b"),
        ("&notit; &CounterClockwiseContourIntegral;", "¬it; ∳"),
        ("&#99999999999999999999;", "\u{fffd}"),
    ];
    for (written, text) in rows {
        assert_eq!(decoded(written, false), text, "{written}");
    }
    assert_eq!(decoded("?a=1&copy=2&amp;lt=3", true), "?a=1&copy=2&lt=3");
}

#[test]
fn attributes_are_read_in_every_spelling() {
    let tree = Tree::html("<a HREF = 'x&amp;y' data-a=b/c checked class=\"a\tb\" href=second>");
    let element = tree.element(0).unwrap();
    assert_eq!(element.attribute("href"), Some("x&y"));
    assert_eq!(element.attribute("data-a"), Some("b/c"));
    assert_eq!(element.attribute("checked"), Some(""));
    assert!(element.has_class("b") && !element.has_class("ab"));
}

#[test]
fn a_document_type_declares_nothing() {
    let xml = "<?xml version='1.0'?><!DOCTYPE r [<!ENTITY a \"x]>\"><!ENTITY b '&a;&a;'>]><r>&b;<![CDATA[<p>&amp;]]></r>";
    let tree = Tree::xml(xml);
    assert_eq!(tree.element(0).unwrap().raw_text(), "&b;<p>&amp;");
}

#[test]
fn what_is_nested_too_deep_is_kept_flat_and_ends_where_it_ends() {
    let deep = "<div>".repeat(100_000) + "inside" + &"</div>".repeat(100_000) + "<p>after</p>";
    let tree = Tree::html(&deep);
    let last = tree.element(tree.len() - 2).unwrap();
    assert_eq!((last.name(), last.around().count(), last.raw_text().as_str()), ("p", 0, "after"));
    assert!(tree.elements(99_000..100_000).all(|element| element.around().count() == 256));
}
