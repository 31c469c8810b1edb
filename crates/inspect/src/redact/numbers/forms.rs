//! Numbers of people at their states, insurers and banks, as masks with check digits; by country.

use super::{
    super::checks::{any, digits, luhn, number as value},
    Form::{Like, Read},
    Number, Word, begins, ends, number,
    states::{
        aadhaar, aba, abn, acn, belgian, bsn, chinese, cnpj, cpf, ean, french, german_tax, hetu, inn,
        italian, itin, korean, korean_check, korean_company, kvnr, letter, licence, mbi, medicare, nhs, nino,
        nordic, npi, pesel, rentner, singaporean, snils, south_african, spanish, ssn, swedish, thai, turkish,
    },
};
use std::ops::Range;

pub(super) const FORMS: &[Number] = &[
    // United States.
    number(
        "ssn",
        Like(&["999-99-9999", "999 99 9999"]),
        ssn,
        &["536-22-1234", "is 078 05 1123."],
        &["000-12-3456", "666-12-3456", "900-12-3456", "078-05-0000", "078-05-1120", "1536-22-1234"],
    ),
    number("ssn", Like(&["999999999"]), ssn, &["SSN 536221234"], &["order 536221234", "ssn 000123456"])
        .near(&["ssn", "ssns", "social security", "social security number"]),
    number(
        "tax_id",
        Like(&["999-99-9999", "999-999999", "99999-9999"]),
        itin,
        &["911-70-1234"],
        &["my id 911-49-1234"],
    )
    .trace(),
    number(
        "health_id",
        Like(&["9A*9A*9AA99", "9A*9-A*9-AA99"]),
        mbi,
        &["1EG4-TE5-MK73", "1EG4TE5MK73"],
        &["1EG4-LE5-MK73", "1EG4TE5MK734"],
    )
    .trace(),
    number(
        "health_id",
        Like(&["9999999999", "9999 999 999", "9999-999-999"]),
        npi,
        &["NPI 1234567893"],
        &["NPI 1234567890", "1234567893"],
    )
    .near(&["npi", "npis", "provider", "provider identifier"]),
    number(
        "bank_account",
        Like(&["999999999", "9999-9999-9"]),
        aba,
        &["ABA routing 3222-7162-7"],
        &["routing 322271628", "322271627"],
    )
    .near(&["aba", "routing", "routing number", "rtn"]),
    // Canada, Brazil.
    number(
        "tax_id",
        Like(&["999-999-999", "999 999 999"]),
        |text| luhn(text) && !text.starts_with(['0', '8']),
        &["SIN 130-692-544"],
        &["130-692-545", "SIN 812 345 678"],
    )
    .near(&["SIN", "social insurance"]),
    number(
        "tax_id",
        Like(&["999.999.999-99"]),
        cpf,
        &["529.982.247-25"],
        &["529.982.247-26", "111.111.111-11"],
    ),
    number("tax_id", Like(&["99.999.999/9999-99"]), cnpj, &["11.222.333/0001-81"], &["11.222.333/0001-82"]),
    // Great Britain.
    number(
        "national_id",
        Like(&["AA999999A", "AA 99 99 99 A", "AA 999999A"]),
        nino,
        &["AA123456C", "nino: PR 123612C", "hh 01 02 03 d"],
        &["UV 98 76 54 B", "AA123456X"],
    )
    .trace(),
    number(
        "health_id",
        Like(&["999-999-9999", "999 999 9999"]),
        nhs,
        &["401-023-2137", "221 395 1837"],
        &["401-023-2138"],
    )
    .trace(),
    number(
        "driving_licence",
        Like(&[
            "AAAAA999999AA9AA",
            "AAAA9999999AA9AA",
            "AAA99999999AA9AA",
            "AAAAA999999A99AA",
            "AAAAA999999A999A",
        ]),
        licence,
        &["JONES710153J99EF", "SMITH851010AB1CD"],
        &["JONES790153J99EF"],
    )
    .trace(),
    // Germany.
    number("tax_id", Like(&["DE999999999"]), any, &["DE129273398 auf der Rechnung"], &["DE1292733981"])
        .trace(),
    number(
        "tax_id",
        Like(&["99999999999", "99 999 999 999"]),
        german_tax,
        &["98765432106"],
        &["98765432107", "12345678901"],
    )
    .trace(),
    number(
        "social_security",
        Like(&["99999999A999", "99 999999 A 999"]),
        rentner,
        &["15070649C103", "65070803A019"],
        &["15070649C100"],
    )
    .trace(),
    number("health_id", Like(&["A999999999"]), kvnr, &["A123456780"], &["A123456781"]).trace(),
    number(
        "company_id",
        Like(&[
            "HRB999999",
            "HRB99999",
            "HRA999999",
            "HRA99999",
            "HRB 999999",
            "HRB 99999",
            "HRA 999999",
            "HRA 99999",
        ]),
        |text| b"AB".contains(&letter(text, 2)),
        &["HRB123456", "HRA 12345"],
        &["HRC123456", "HRB1"],
    )
    .trace(),
    // Finland, Sweden, Denmark, Norway.
    number(
        "national_id",
        Like(&["999999-999*", "999999A999*", "999999+999*"]),
        hetu,
        &["020594X902N", "131052-308T"],
        &["131052-308U", "991352-308T"],
    )
    .trace(),
    number(
        "national_id",
        Like(&["999999-9999", "999999+9999", "99999999-9999", "999999999999"]),
        swedish,
        &["811228-9874", "199109242397"],
        &["811228-9875", "19001309-2393"],
    )
    .trace(),
    number(
        "national_id",
        Like(&["9999999999"]),
        swedish,
        &["personnummer 9201232387"],
        &["9201232387", "personnummer 9201232388"],
    )
    .near(&["personnummer", "pnr", "personal identity", "organisationsnummer", "orgnr"]),
    number(
        "national_id",
        Like(&["999999-9999", "99999999999"]),
        nordic,
        &["CPR 131052-3087", "fødselsnummer 01010112345"],
        &["991352-3087", "131052-3087"],
    )
    .near(&["cpr", "fødselsnummer", "personnummer", "fnr", "cpr-nummer"]),
    // Spain, Italy, France, Portugal, Poland, Belgium, the Netherlands, Switzerland.
    number(
        "national_id",
        Like(&["99999999A", "9999999A", "99999999-A", "9999999-A", "A9999999A", "A-9999999-A"]),
        spanish,
        &["12345678Z", "Y8063915Z", "1111111-G"],
        &["12345678A", "Y8063915Q"],
    )
    .trace(),
    number("national_id", Like(&["AAAAAA99A99A999A"]), italian, &["RSSMRA85T10A562S"], &["RSSMRA85T10A562T"]),
    number(
        "tax_id",
        Like(&["99999999999"]),
        luhn,
        &["partita IVA 01333550323"],
        &["01333550323", "IVA 01333550324"],
    )
    .near(&["IVA", "VAT", "P.IVA"]),
    number(
        "national_id",
        Like(&["999999999999999", "9 99 99 99 999 999 99"]),
        french,
        &["255081416802538", "2 55 08 14 168 025 38"],
        &["255081416802539"],
    )
    .trace(),
    number("national_id", Like(&["99999999999"]), pesel, &["44051401458"], &["44051401459", "44991401458"])
        .trace(),
    number("national_id", Like(&["99.99.99-999.99"]), belgian, &["85.07.30-033.28"], &["85.07.30-033.29"]),
    number("national_id", Like(&["999999999"]), bsn, &["BSN 111222333"], &["111222333", "BSN 111222334"])
        .near(&["bsn", "burgerservicenummer", "sofinummer"]),
    number("social_security", Like(&["756.9999.9999.99"]), ean, &["756.9217.0769.85"], &["756.9217.0769.86"]),
    // Turkey, Russia.
    number(
        "national_id",
        Like(&["99999999999"]),
        turkish,
        &["10000000146", "36493665440"],
        &["10000000147", "02531814694"],
    )
    .trace(),
    number(
        "national_id",
        Like(&["999-999-999 99", "999-999-999-99"]),
        snils,
        &["112-233-445 95"],
        &["112-233-445 96"],
    ),
    number(
        "tax_id",
        Like(&["9999999999", "999999999999"]),
        inn,
        &["ИНН 7707083893"],
        &["7707083893", "ИНН 7707083894"],
    )
    .near(&["инн", "inn", "ИНН"]),
    // India.
    number(
        "national_id",
        Like(&["9999 9999 9999", "9999-9999-9999", "9999:9999:9999"]),
        aadhaar,
        &["3998 7654 3211"],
        &["3998 7654 3212", "1234 5678 9012"],
    ),
    number("national_id", Like(&["999999999999"]), aadhaar, &["Aadhaar 399876543211"], &["399876543211"])
        .near(&["aadhaar", "aadhar", "uidai"]),
    number(
        "tax_id",
        Like(&["99AAAAA9999A9Z*"]),
        |text| (1..=37).contains(&value(text, 0, 2)),
        &["27ABCDE1234F1Z5"],
        &["38ABCDE1234F1Z5"],
    )
    .trace(),
    number(
        "tax_id",
        Like(&["AAAAA9999A"]),
        |text| text.is_ascii() && b"ABCFGHLJPT".contains(&text.as_bytes()[3].to_ascii_uppercase()),
        &["ABCPD1234Z"],
        &["ABCDE1234F"],
    )
    .trace(),
    // China, Korea, Thailand, Singapore, South Africa, Australia.
    number(
        "national_id",
        Like(&["99999999999999999*"]),
        chinese,
        &["11010519491231002X"],
        &["110105194912310021", "11010519491331002X"],
    ),
    number(
        "national_id",
        Like(&["999999-9999999"]),
        korean,
        &["911124-5678901", "000505-3637892"],
        &["001332-1234567", "960303-0021413"],
    ),
    number(
        "national_id",
        Like(&["9999999999999"]),
        |text| korean(text) && korean_check(text),
        &["9111245678906"],
        &["0013321234567", "9111245678907"],
    )
    .trace(),
    number(
        "company_id",
        Like(&["999-99-99999", "9999999999"]),
        korean_company,
        &["BRN is 104-86-56659"],
        &["104-86-56658", "104-86-56659"],
    )
    .near(&["brn", "사업자등록번호", "business registration"]),
    number(
        "national_id",
        Like(&["9999999999999", "9-9999-99999-99-9"]),
        thai,
        &["1234567890121"],
        &["1234567890122", "0034567890124"],
    )
    .trace(),
    number("national_id", Like(&["A9999999A"]), singaporean, &["S2740116C"], &["S2740116D"]).trace(),
    number(
        "national_id",
        Like(&["9999999999999"]),
        south_african,
        &["8001015009087"],
        &["8001015009086", "8013015009087"],
    )
    .trace(),
    number(
        "tax_id",
        Like(&["99999999999", "99 999 999 999"]),
        abn,
        &["51824753556", "51 824 753 556"],
        &["52824753556"],
    )
    .trace(),
    number(
        "company_id",
        Like(&["999 999 999", "999999999"]),
        acn,
        &["ACN 000 000 019"],
        &["ACN 000 000 018", "000 000 019"],
    )
    .near(&["acn", "company number"]),
    number(
        "health_id",
        Like(&["9999 99999 9", "9999999999"]),
        medicare,
        &["medicare 2123 45670 1"],
        &["2123 45670 1", "medicare 2123 25870 1"],
    )
    .near(&["medicare"]),
    // What a word before calls a passport, a licence, an account.
    number(
        "passport",
        Read(serial),
        any,
        &["passport number is M123A4567", "Reisepass C01234565"],
        &["M123A4567", "passport office"],
    )
    .near(&[
        "passport",
        "passports",
        "passport no",
        "passport number",
        "pasaporte",
        "passeport",
        "passaporto",
        "reisepass",
        "paspoort",
        "паспорт",
        "여권",
        "护照",
    ]),
    number(
        "driving_licence",
        Read(serial),
        any,
        &["driver's license: D1234567", "Führerschein BO12345678A"],
        &["D1234567", "a license of 2024"],
    )
    .near(&[
        "license number",
        "licence number",
        "driver license",
        "driver's license",
        "drivers license",
        "driving licence",
        "license no",
        "licence no",
        "führerschein",
        "dl number",
        "permis de conduire",
        "patente",
    ]),
    number(
        "national_id",
        Read(serial),
        any,
        &["ID card: L01X00T44", "national id 12345678"],
        &["L01X00T44", "id 12345678"],
    )
    .near(&[
        "national id",
        "id card",
        "identity card",
        "identity number",
        "id number",
        "personalausweis",
        "national insurance",
        "nino",
        "nric",
        "FIN",
        "DNI",
        "NIE",
        "NIF",
        "CURP",
        "kimlik",
        "FRN",
        "RRN",
        "NIN",
        "身份证",
        "เลขบัตรประชาชน",
        "personnummer",
    ]),
    number(
        "tax_id",
        Read(serial),
        any,
        &["tax id 12-3456789", "TIN: 000-123-456-000"],
        &["12-3456789", "tax of 20000"],
    )
    .near(&[
        "tax id",
        "TIN",
        "ITIN",
        "EIN",
        "tax number",
        "vat number",
        "vat id",
        "steuernummer",
        "idnr",
        "gstin",
        "PAN",
        "steuer-id",
    ]),
    number(
        "bank_account",
        Read(serial),
        any,
        &["account number 12345678", "Kontonummer: 0532013000"],
        &["12345678", "on account of 20000000"],
    )
    .near(&["account number", "account no", "bank account", "kontonummer", "iban", "acct", "acct no"]),
    number("health_id", Read(serial), any, &["health card 1234567890", "MRN: 00451234"], &["1234567890"])
        .near(&[
            "health card",
            "health insurance",
            "MRN",
            "medical record",
            "MBI",
            "NHS",
            "versichertennummer",
            "patient id",
            "arztnummer",
            "betriebsstättennummer",
            "DEA",
        ]),
    number(
        "signal_id",
        Like(&["********-****-****-****-************"]),
        any,
        &["signal <h8>-<h4>-<h4>-<h4>-<h12>"],
        &["<h8>-<h4>-<h4>-<h4>-<h12>"],
    )
    .near(&["signal", "signal aci", "aci"]),
    number(
        "telegram_id",
        Read(serial),
        |text| text.bytes().all(|byte| byte.is_ascii_digit()),
        &["telegram id is 123456789"],
        &["telegram 1234", "123456789"],
    )
    .near(&["telegram id", "telegram", "telegram user", "chat id"]),
];

/// A serial number: a word of 6 to 20 letters, digits and hyphens, with at least five digits.
fn serial(text: &str, word: Word) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let long = bytes[word.start..]
        .iter()
        .take(24)
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-')
        .count();
    let end = word.start + long;
    let found = text.get(word.start..end)?.trim_end_matches('-');
    let end = word.start + found.len();
    // Two years side by side are a span of time.
    let years = found.len() == 9 && found.as_bytes()[4] == b'-' && found.starts_with(['1', '2']);
    let fits = (6..=20).contains(&found.len()) && digits(found).count() >= 5 && !years;
    (fits && begins(bytes, word.start) && ends(bytes, end)).then_some(word.start..end)
}
