"""What people read beside the rules: both arms' `pulse`, the `places` of failures, why a `rollback` was."""
