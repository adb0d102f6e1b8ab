//! Names find attributes as in Spark.
use super::*;

fn attr(id: u64, name: &str, qualifiers: &[&str]) -> Attribute {
    Attribute {
        id,
        origin: None,
        name: name.to_owned(),
        qualifiers: qualifiers.iter().map(|q| (*q).to_owned()).collect(),
        data_type: DataType::Int,
        nullable: true,
        metadata: None,
        visibility: Visibility::Shown,
    }
}

fn look(attrs: &[Attribute], name: &str) -> Result<Option<(u64, usize)>> {
    let parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    Ok(find(attrs, &parts, NameCase::Insensitive, Span::NONE)?.map(|found| (found.attr.id, found.fields.len())))
}

#[test]
fn qualified_name_wins_over_struct_field() {
    let attrs = [attr(1, "a", &["db", "t"]), attr(2, "t", &["u"])];
    assert_eq!(look(&attrs, "t.a").unwrap(), Some((1, 0)));
    assert_eq!(look(&attrs, "DB.T.A").unwrap(), Some((1, 0)));
    assert_eq!(look(&attrs, "t.b").unwrap(), Some((2, 1)));
    assert_eq!(look(&attrs, "u.t.b.c").unwrap(), Some((2, 2)));
    assert_eq!(look(&attrs, "x").unwrap(), None);
}

#[test]
fn two_columns_of_one_name_are_ambiguous_unless_one_is_hidden() {
    let mut attrs = [attr(1, "k", &["l"]), attr(2, "K", &["r"])];
    assert_eq!(look(&attrs, "k").unwrap_err().class(), Some("AMBIGUOUS_REFERENCE"));
    if let Some(right) = attrs.last_mut() {
        right.visibility = Visibility::Qualified;
    }
    assert_eq!(look(&attrs, "k").unwrap(), Some((1, 0)));
    assert_eq!(look(&attrs, "r.k").unwrap(), Some((2, 0)));
}
