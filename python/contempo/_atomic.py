"""The decorator of `Region.atomic`."""

import functools
import inspect


def atomic(region, function=None, timeout=None):
    if function is None:
        return lambda function: atomic(region, function, timeout)
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError("the function of a transaction cannot be async or a generator: it would stay open meanwhile")
    within = region._within

    @functools.wraps(function)
    def transaction(*args, **kwargs):
        return within(timeout, function, args, kwargs)

    return transaction
