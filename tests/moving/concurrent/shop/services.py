from concurrency.api import disable_concurrency
from concurrency.exceptions import RecordModifiedError

from shop.models import Order


def overwrite(order):
    with disable_concurrency(Order):
        order.save()


@disable_concurrency(model=Order)
def repair(order):
    order.save()


def try_to_save(order):
    try:
        order.save()
    except RecordModifiedError as error:
        return error.target
    return None
