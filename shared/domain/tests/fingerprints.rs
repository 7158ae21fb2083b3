//! Fingerprints, committed: intakes and ledgers hold them, so they must stay whatever a build makes of
//! metadata.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use domain::Payment;
use std::collections::BTreeSet;

/// A content of metadata, written in different ways, and the fingerprint that it has.
const CONTENTS: &[(&str, &[&str])] = &[
    ("63c1317816e71eb294313b130b81f5abe53cadddaf695abbf0ed527280141454", &["null", "{}", " { } "]),
    (
        "97562edbe80c5f3378c73cbf37215801ef59f9ae9cc47dcd4c985eda45ebf079",
        &[r#"{"a":9e15}"#, r#"{"a":9000000000000000.0}"#, r#"{"a":90.0E+14}"#],
    ),
    ("463ee6d5033843e2968c81a9d77e453d75dddfcf88be68ce1df402bed4f8c179", &[r#"{"a":9000000000000000}"#]),
    ("e3d1be484abc5bd797bc97b0897cfc48340e83ab08264497098e0a8af1b7f269", &[r#"{"a":1.0}"#, r#"{"a":1.000}"#]),
    (
        "a122c3e38bdbfd200789c43e8b5c1f694f01439d3d16f39d8c1eb5d981d022cd",
        &[r#"{"a":1}"#, r#"{"\u0061" : 1}"#],
    ),
    ("64bfaacba22dfc0a9e3deda34ffdc1a7956fa7d6ffd857b1445bdd05567c41cb", &[r#"{"a":1e2}"#, r#"{"a":100.0}"#]),
    ("c746d43832d2c1e53409004091f7da713414944638161c98fd7263a44cf50edf", &[r#"{"a":-0}"#, r#"{"a":-0.0}"#]),
    ("b2e860a0b9e45d6c9800711e6b0e079084af1ccdffb1969315baab73bc7a3ae6", &[r#"{"a":0}"#]),
    (
        "a1ce94b2d1d99485bf522175f067f5bc23777036950e1b1c2bddc10377e4c578",
        &[r#"{"a":0.1}"#, r#"{"a":1e-1}"#, r#"{"a":0.1000}"#],
    ),
    ("951df77678fc8587fb985803190e7c81f2da84e295b7769233406ae7a4ec9865", &[r#"{"a":18446744073709551615}"#]),
    ("832096a08d1257f1de1bd28bf53b02eff4bd4e097a7c1d3f27d58b1999dcfc5e", &[r#"{"a":-9223372036854775808}"#]),
    (
        "81c416516af1c55024f22186faca05c9a69e6a320950c0f72fc6dda0573c53f7",
        &[r#"{"a":1e-400}"#, r#"{"a":0.0}"#],
    ),
    ("a7ff25f825541e04e6f951d72e16aaca24982cbcf0768b4a09be3767682563ff", &[r#"{"a":0.30000000000000004}"#]),
    (
        "c553b7b4748d35f29f5499afef16384c00072c13d75ed8d9d22f1042520f2f8b",
        &[r#"{"a":1.7976931348623157e308}"#],
    ),
    (
        "cb42f4e32b9ccdd7962d0a8373ab6516aa72873da59cc3feb9784d24d1cccca5",
        &[r#"{"a":2.2250738585072014e-308}"#],
    ),
    ("8563c93a0f3e8ac6bafc0e3c2a63fa016e2f4da9af7f12533d74e3b2ce159d8d", &[r#"{"a":1e16}"#]),
    (
        "aa078fa4c626a8e4f374722154af07b2950ef4f83db5c7fd9ac5dfb07041aca0",
        &[r#"{"a":123456789.125e-3}"#, r#"{"a":123456.789125}"#],
    ),
    (
        "37d6cf18d371d35aea2901b1d99791d851409cf97ca45747b3ed22920a2668f6",
        &[r#"{"a":"\u00e9\u65e5\ud83d\ude00"}"#, r#"{"a":"é日😀"}"#],
    ),
    (
        "8f380f58bc20e0d8b8834a0902a940befbbb90a1a8453a797e785f6d9cd12fd9",
        &[
            r#"{"a":"\/\"\\\b\f\n\r\t\u001f\u007f"}"#,
            "{\"a\":\"/\\u0022\\u005c\\u0008\\u000c\\u000a\\u000d\\u0009\\u001f\u{7f}\"}",
        ],
    ),
    (
        "35d531c5c157f422d9035417faf651362ddc5f2002260dd3df2c90426e48a436",
        &[
            r#"{"a":[1,2.5,"x",null,{"b":true,"a":{"c":false}}],"0":{}}"#,
            r#"{"0":{},"a":[1,2.50,"x",null,{"a":{"c":false},"b":true}]}"#,
            "{ \"a\" :\t[1,\n2.5, \"x\", null , {\"b\":true, \"a\":{ \"c\" : false } }] ,\r\n \"0\":{ } }",
        ],
    ),
    (
        "a915e0d4e00e3fc2aafe5dd02618698b9597802c373cd44e77afa6d2b28078f6",
        &[r#"{"b":"2","a":1}"#, r#"{"a":1,"b":"2"}"#],
    ),
    (
        "4ae74b55c6827401b8ea968d1ec5a51f52f557ec415dbcb6f92779f9132674e6",
        &[
            r#"{"é":1,"e":2,"z":3,"Z":4,"":5,"aa":6,"a":7}"#,
            r#"{"":5,"Z":4,"a":7,"aa":6,"e":2,"z":3,"\u00e9":1}"#,
        ],
    ),
    ("eb9c403ac26f5326ba3addb1ef764355f275e4ad63376eb244d45f5a5867e4c5", &[r#"{"a":[]}"#]),
    ("9353ba392d06c682394a8ad7c70af744df32eaea626f0fbdcfae8156bea4d35a", &[r#"{"a":{}}"#]),
    ("f01d7d1b657201163965a101ca53c80f00fdb527231e2f0399ba9b9b79cba437", &[r#"{"a":[[[]]]}"#]),
    ("b2f1765c097976b0aaa91fae782753e3c291039ac3239a47a7aebb7905ab42cc", &[r#"{"a":true}"#]),
    ("eef9a375936ca51901d9829d570e6a08d63c5b68ee6f8f681478b1e06a5456f0", &[r#"{"a":"true"}"#]),
];

#[test]
fn fingerprints_are_as_committed() {
    for (expected, texts) in CONTENTS {
        for metadata in *texts {
            let payment = format!(
                r#"{{"tenant":"default","id":"P","source_account":"A","destination_account":"B","amount":{{"currency":"USD","value":"1.50"}},"metadata":{metadata}}}"#
            );
            let payment: Payment = serde_json::from_str(&payment).unwrap();
            assert_eq!(payment.fingerprint().to_string(), *expected, "{metadata}");
        }
    }
    let distinct: BTreeSet<&str> = CONTENTS.iter().map(|(fingerprint, _)| *fingerprint).collect();
    assert_eq!(distinct.len(), CONTENTS.len());
}
