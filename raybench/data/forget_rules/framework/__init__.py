"""What forget rules are made of: the decorator, the candidates, and the checks that several rules share."""
