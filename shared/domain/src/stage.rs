//! The names of the stages that judge a payment.

use serde::{Deserialize, Serialize};

crate::closed_set! {
    /// A consumer of one stream, in the order a payment meets them. The name is its durable consumer's, its
    /// metrics label and its token in dead subjects.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    StageName {
        /// Screens accepted payments.
        Risk = "risk",
        /// Quotes screened payments.
        Fx = "fx",
        /// Holds the money of quoted payments.
        Reserve = "reserve",
        /// Posts reserved payments.
        Settle = "settle",
        /// Records the refusals of risk and fx.
        SettleRejected = "settle_rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_stage_and_is_written_as_it_is_called() {
        for stage in StageName::ALL {
            assert_eq!(StageName::named(stage.as_str()), Some(stage));
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("\"{stage}\""));
        }
        assert_eq!(StageName::named("nobody"), None);
    }
}
