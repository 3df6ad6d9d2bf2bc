"""Development commands of this repository: code generation, vendoring and the checks around them."""
