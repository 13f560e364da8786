"""The Earth2Studio SDK's names on top of `wildcast`, so that its users change nothing."""
