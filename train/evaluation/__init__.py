"""A trained model beside its reference: held-out pairs by slice, answers, win rates, with intervals."""
