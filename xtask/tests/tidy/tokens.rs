//! Rust sources as tokens: comments and strings cannot be mistaken for code.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A source's tokens in order, groups opened up: each token's text and line.
pub(crate) struct Tokens(Vec<(String, usize)>);

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Tokens {
    pub(crate) fn of(source: &str) -> Self {
        let mut flat = Vec::new();
        flatten(parse(source), &mut flat);
        Self(flat)
    }

    /// Lines at which the pattern, itself Rust tokens, occurs.
    pub(crate) fn find(&self, pattern: &str) -> Vec<usize> {
        let mut wanted = Vec::new();
        flatten_open(pattern, &mut wanted);
        self.0
            .windows(wanted.len())
            .filter(|window| window.iter().zip(&wanted).all(|((text, _), wanted)| text == wanted))
            .map(|window| window[0].1)
            .collect()
    }

    /// The tokens from `line` on.
    pub(crate) fn starting_at(mut self, line: usize) -> Self {
        self.0.retain(|&(_, at)| at >= line);
        self
    }
}

/// Every function with a body, nested ones and those inside macros included.
pub(crate) fn functions(source: &str) -> Vec<Function> {
    let mut found = Vec::new();
    find_functions(parse(source), &mut found);
    found
}

fn parse(source: &str) -> TokenStream {
    // A file that does not lex does not compile either; the compiler says it better.
    TokenStream::from_str(source).unwrap_or_default()
}

fn flatten(stream: TokenStream, flat: &mut Vec<(String, usize)>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                flat.push((open.to_owned(), line));
                flatten(group.stream(), flat);
                flat.push((close.to_owned(), group.span_close().start().line));
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {
                flat.push((tree.to_string(), line));
            }
        }
    }
}

/// A pattern may leave brackets open, which no token stream may: it is split at spaces.
fn flatten_open(pattern: &str, wanted: &mut Vec<String>) {
    wanted.extend(pattern.split(' ').map(str::to_owned));
}

fn find_functions(stream: TokenStream, found: &mut Vec<Function>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    for (index, tree) in trees.iter().enumerate() {
        if let TokenTree::Group(group) = tree {
            find_functions(group.stream(), found);
        }
        // `fn` before anything but a name is a type.
        let [TokenTree::Ident(word), TokenTree::Ident(name), ..] = &trees[index..] else { continue };
        if word != "fn" {
            continue;
        }
        let end = trees[index..].iter().find_map(|tree| match tree {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                Some(Some(group.span_close()))
            }
            TokenTree::Punct(punct) if punct.as_char() == ';' => Some(None),
            TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Ident(_) | TokenTree::Literal(_) => None,
        });
        if let Some(Some(close)) = end {
            let line = word.span().start().line;
            found.push(Function { name: name.to_string(), line, lines: close.end().line - line + 1 });
        }
    }
}

#[test]
fn tokens_are_code_and_know_their_lines() {
    let tokens = Tokens::of("fn a() {\n    // unsafe\n    \"unsafe\";\n    unsafe { b() }\n}\n");
    assert_eq!(tokens.find("unsafe"), [4]);
    assert_eq!(tokens.find("unsafe { b ("), [4]);
    assert_eq!(tokens.find("unsafe (").len(), 0);
    assert_eq!(tokens.starting_at(5).find("unsafe").len(), 0);
}

#[test]
fn functions_are_found_with_their_lengths() {
    let source = "trait T { fn none(&self); }\ntype F = fn(u8);\nmod m {\n    fn two() {\n    }\n}\nx! { fn one() {} }\n";
    let found: Vec<_> = functions(source).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(found, [("two".to_owned(), 4, 2), ("one".to_owned(), 7, 1)]);
}
