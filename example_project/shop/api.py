"""The shop's API: orders, each with its version as the ETag."""

from __future__ import annotations

from rest_framework import permissions, routers, serializers, viewsets

from optilock.contrib.rest_framework import ConditionalMixin, ETagField, VersionField
from shop.models import Order


class OrderSerializer(serializers.ModelSerializer):
    etag = ETagField()  # for lists: the If-Match of each order
    version = VersionField()  # for clients that can't send headers

    class Meta:
        model = Order
        fields = [
            "number",
            "customer",
            "status",
            "gift",
            "amount",
            "currency",
            "note",
            "version",
            "etag",
        ]


class OrderViewSet(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Order.objects.order_by("number")
    serializer_class = OrderSerializer
    permission_classes = [permissions.DjangoModelPermissions]
    lookup_field = "number"
    # A change has to say which version it is about.
    precondition_required = True


router = routers.SimpleRouter()
router.register("orders", OrderViewSet)
