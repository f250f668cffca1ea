//! Path mode: makes a page whose addresses start at `/` work under `/preview/{id}/`.
//!
//! A release is built for the root of an origin of its own. Its scripts and styles name their assets relative
//! to themselves and go anywhere; only addresses in the HTML need the prefix, and only when it is served in
//! path mode. A `<base>` element would do it in one line, but it breaks in-page anchors.

use lol_html::html_content::Element;
use lol_html::{HtmlRewriter, Settings, element, text};

/// Where modules of layers are, from the root: scripts name them so, whatever the prefix.
const LAYERS: &str = "_previewd/layers/";
/// Attributes that hold one address.
const ADDRESSES: &[&str] = &["src", "href", "poster", "action", "data", "formaction", "manifest"];
/// What a `meta` element is called whose `content` is an address; or what its name begins with.
const META_ADDRESSES: &[&str] = &[
    "og:image",
    "og:image:url",
    "og:image:secure_url",
    "og:url",
    "og:video",
    "og:video:url",
    "og:video:secure_url",
    "og:audio",
    "og:audio:url",
    "og:audio:secure_url",
    "twitter:image",
    "twitter:image:src",
    "twitter:player",
    "twitter:url",
];
const META_ADDRESS_PREFIX: &str = "msapplication-";
/// Attributes that hold a list of `address descriptor`.
const ADDRESS_LISTS: &[&str] = &["srcset", "imagesrcset"];

/// Rewrites `html` for `prefix` (with slashes around). What cannot be parsed is served as it is.
pub fn for_prefix(html: &[u8], prefix: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(html.len() + html.len() / 8);
    let handlers = [
        element!("*", |element| {
            prefix_attributes(element, prefix);
            Ok(())
        }),
        text!("script[type=importmap]", |chunk| {
            let with_prefix = chunk.as_str().replace("\": \"/", &format!("\": \"{prefix}")).replace("\":\"/", &format!("\":\"{prefix}"));
            chunk.set_str(with_prefix);
            Ok(())
        }),
    ];
    let settings = handlers.into_iter().fold(Settings::new(), lol_html::Settings::append_element_content_handler);
    let mut rewriter = HtmlRewriter::new(settings, |chunk: &[u8]| out.extend_from_slice(chunk));
    let done = rewriter.write(html).is_ok() && rewriter.end().is_ok();
    if done { out } else { html.to_vec() }
}

fn prefix_attributes(element: &mut Element<'_, '_>, prefix: &str) {
    let content = holds_address(element).then_some("content");
    for name in ADDRESSES.iter().copied().chain(content) {
        if let Some(rooted) = element.get_attribute(name).as_deref().and_then(|value| rooted(value, prefix)) {
            let _ = element.set_attribute(name, &rooted);
        }
    }
    for name in ADDRESS_LISTS {
        if let Some(list) = element.get_attribute(name) {
            let items = list.split(", ").map(|item| rooted(item, prefix).unwrap_or_else(|| item.to_owned()));
            let _ = element.set_attribute(name, &items.collect::<Vec<_>>().join(", "));
        }
    }
}

/// Whether the `content` of a `meta` element is an address: by its name, for any text may begin with a slash.
fn holds_address(element: &Element<'_, '_>) -> bool {
    let named = |attribute| element.get_attribute(attribute).map(|name| name.trim().to_ascii_lowercase());
    let is_address = |name: String| META_ADDRESSES.contains(&name.as_str()) || name.starts_with(META_ADDRESS_PREFIX);
    element.tag_name() == "meta" && ["property", "name"].into_iter().filter_map(named).any(is_address)
}

/// `/x` with the prefix; `None` for every other kind of address.
fn rooted(address: &str, prefix: &str) -> Option<String> {
    let rest = address.trim_start().strip_prefix('/')?;
    // `//host/…` leads elsewhere; what has the prefix already was written for it; layers are the same under every preview.
    if rest.starts_with('/') || rest.starts_with(LAYERS) || address.starts_with(prefix) {
        return None;
    }
    Some(format!("{prefix}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(html: &str) -> String {
        String::from_utf8(for_prefix(html.as_bytes(), "/preview/demo/")).expect("utf-8")
    }

    #[test]
    fn addresses_at_the_root_get_the_prefix() {
        let cases = [
            (r#"<script type="module" src="/assets/a.js"></script>"#, r#"<script type="module" src="/preview/demo/assets/a.js"></script>"#),
            (r#"<a href="/">home</a>"#, r#"<a href="/preview/demo/">home</a>"#),
            (r#"<img srcset="/a.png 1x, /b.png 2x">"#, r#"<img srcset="/preview/demo/a.png 1x, /preview/demo/b.png 2x">"#),
            (r#"<meta property="og:image" content="/og.png">"#, r#"<meta property="og:image" content="/preview/demo/og.png">"#),
            (r#"<meta name="Twitter:Image" content="/t.png">"#, r#"<meta name="Twitter:Image" content="/preview/demo/t.png">"#),
            (r#"<meta name="msapplication-config" content="/b.xml">"#, r#"<meta name="msapplication-config" content="/preview/demo/b.xml">"#),
            (
                r#"<script type="importmap">{"imports":{"a": "/a.js"}}</script>"#,
                r#"<script type="importmap">{"imports":{"a": "/preview/demo/a.js"}}</script>"#,
            ),
        ];
        for (html, expected) in cases {
            assert_eq!(rewrite(html), expected);
        }
    }

    #[test]
    fn everything_else_stays_byte_for_byte() {
        for html in [
            r##"<a href="#top">x</a><a href="about.html">y</a><a href="//cdn/x.js">z</a><a href="https://a/">w</a>"##,
            r#"<script>const a = "/api";</script><p>/text</p><!-- src="/x" -->"#,
            r#"<a href="/preview/demo/x">already</a>"#,
            r#"<link rel="modulepreload" href="/_previewd/layers/0/react.js">"#,
            r#"<meta name="description" content="/r/rust is a place"><meta property="og:title" content="/x"><meta content="/x">"#,
            r#"<div property="og:image" content="/x"></div>"#,
            "<not really <<html",
        ] {
            assert_eq!(rewrite(html), html);
        }
    }
}
