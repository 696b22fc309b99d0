// SPDX-License-Identifier: GPL-2.0
//! `#[vtable]` as the module's strategies use it: for each method of a trait a constant says whether
//! an implementation has it. The kernel's own needs a built kernel.

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

#[proc_macro_attribute]
pub fn vtable(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    let is_trait = tokens
        .iter()
        .any(|t| matches!(t, TokenTree::Ident(i) if i.to_string() == "trait"));
    let Some(TokenTree::Group(body)) = tokens.pop() else {
        panic!("the attribute is for a trait or an implementation");
    };
    let inner: Vec<TokenTree> = body.stream().into_iter().collect();
    let mut constants = String::new();
    for pair in inner.windows(2) {
        if let [TokenTree::Ident(word), TokenTree::Ident(name)] = pair {
            if word.to_string() == "fn" {
                let name = name.to_string().to_uppercase();
                constants += &format!("#[allow(missing_docs)] const HAS_{name}: bool = {};", !is_trait);
            }
        }
    }
    let mut with: TokenStream = constants.parse().unwrap();
    with.extend(inner);
    tokens.push(Group::new(Delimiter::Brace, with).into());
    tokens.into_iter().collect()
}
