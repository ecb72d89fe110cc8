"""Views of Django REST framework, of each kind that writes."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import include, path
from rest_framework import (
    generics,
    pagination,
    permissions,
    routers,
    serializers,
    viewsets,
)
from rest_framework.authentication import BasicAuthentication
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from optilock import retry_on_conflict
from optilock.contrib.rest_framework import (
    ConditionalMixin,
    CreateOnPutMixin,
    ETagField,
    VersionedListSerializer,
    VersionField,
)
from optilock.http import check_preconditions, etag_of_list
from testapp.models import (
    Account,
    Article,
    Book,
    GuardedPage,
    Labelled,
    Line,
    Order,
    Page,
    Renamed,
    Restaurant,
    StringKey,
    Unlocked,
)


class AccountSerializer(serializers.ModelSerializer):
    class Meta:
        model = Account
        fields = ["id", "owner", "balance"]

    def update(self, instance, validated_data):
        Unlocked.objects.create(name="written before")
        return super().update(instance, validated_data)


class Accounts(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Account.objects.order_by("pk")
    serializer_class = AccountSerializer
    precondition_required = True

    def get_etag_variant(self, instance):
        return None

    def perform_destroy(self, instance):
        Unlocked.objects.create(name="written before")
        super().perform_destroy(instance)

    @action(detail=True, methods=["post"])
    def close(self, request, pk):
        account = self.get_object()
        Unlocked.objects.create(name="written before")
        account.owner = "closed"
        account.save()
        return Response({"owner": account.owner})


class Generic(ConditionalMixin, generics.RetrieveUpdateDestroyAPIView):
    queryset = Account.objects.all()
    serializer_class = AccountSerializer
    precondition_required = True

    def get_etag_variant(self, instance):
        return None


class Variants(ConditionalMixin, viewsets.ModelViewSet):
    """As the mixin comes: optional, and each representation has its own tag."""

    queryset = Account.objects.all()
    serializer_class = AccountSerializer


class Retried(Variants):
    @retry_on_conflict
    def update(self, request, *args, **kwargs):
        return super().update(request, *args, **kwargs)


class OwnHandler(Variants):
    etag_on_put = False
    include_current = False

    def update(self, request, *args, **kwargs):
        Unlocked.objects.create(name="written before")
        return super().update(request, *args, **kwargs)


class Refreshing(Variants):
    def perform_update(self, serializer):
        Account.objects.filter(pk=serializer.instance.pk).update(owner="theirs")
        serializer.instance.refresh_from_db()
        super().perform_update(serializer)


class Unlooked(Variants):
    """Gets its object in a way of its own."""

    def get_object(self):
        return Account.objects.get(pk=self.kwargs["pk"])


class Careless(Unlooked):
    def perform_update(self, serializer):
        serializer.save()


class WriteOnly(permissions.BasePermission):
    def has_permission(self, request, view):
        return request.method != "GET"


class Hidden(Variants):
    permission_classes = [WriteOnly]


class Nobody(permissions.BasePermission):
    def has_permission(self, request, view):
        return False


class Forbidden(Variants):
    permission_classes = [Nobody]


class Mine(Variants):
    """Those of "mine" only."""

    queryset = Account.objects.filter(owner="mine")


class BodySerializer(serializers.ModelSerializer):
    version = VersionField()
    etag = ETagField()

    class Meta:
        model = Account
        fields = ["id", "owner", "balance", "version", "etag"]


class BodyVersions(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Account.objects.order_by("pk")
    serializer_class = BodySerializer
    precondition_required = True


class Listed(Variants):
    def get_list_etag(self, rows):
        return etag_of_list(rows, self.get_etag_variant(None))


class PageOfTwo(pagination.PageNumberPagination):
    page_size = 2


class Paged(Listed):
    queryset = Account.objects.order_by("pk")
    pagination_class = PageOfTwo


class Puts(CreateOnPutMixin, Variants):
    pass


class CodeSerializer(serializers.ModelSerializer):
    class Meta:
        model = StringKey
        fields = ["name"]


class Codes(CreateOnPutMixin, ConditionalMixin, viewsets.ModelViewSet):
    queryset = StringKey.objects.all()
    serializer_class = CodeSerializer
    lookup_field = "code"


class Replayed(Variants):
    answer_replays = True


class ReplayedBody(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Account.objects.all()
    serializer_class = BodySerializer
    answer_replays = True


class Epochs(Variants):
    serializer_class = BodySerializer

    def get_etag_variant(self, instance):
        return None

    def get_etag_epoch(self, instance):
        return instance.owner


class RenamedSerializer(serializers.ModelSerializer):
    class Meta:
        model = Renamed
        fields = ["name"]


class Renames(ConditionalMixin, viewsets.ModelViewSet):
    """A field alone, by another name."""

    queryset = Renamed.objects.all()
    serializer_class = RenamedSerializer
    precondition_required = True


def plain_serializer(for_model, *names):
    class Serializer(serializers.ModelSerializer):
        class Meta:
            model = for_model
            fields = names

    return Serializer


class Visits(ConditionalMixin, viewsets.ModelViewSet):
    """Whoever looks at an article is counted, which is nobody's concern."""

    queryset = Article.objects.all()
    serializer_class = plain_serializer(Article, "title", "views")
    precondition_required = True


class Guarded(ConditionalMixin, viewsets.ModelViewSet):
    """A trigger bumps the version."""

    queryset = GuardedPage.objects.all()
    serializer_class = plain_serializer(GuardedPage, "text")
    precondition_required = True


class LabelledRows(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Labelled.objects.all()
    serializer_class = plain_serializer(Labelled, "labels")


class ReplayedLabels(LabelledRows):
    answer_replays = True


class BookSerializer(serializers.ModelSerializer):
    remark = serializers.CharField(write_only=True, required=False)

    class Meta:
        model = Book
        fields = ["title", "author", "remark"]

    def update(self, instance, validated_data):
        validated_data.pop("remark", None)
        return super().update(instance, validated_data)


class ReplayedBooks(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Book.objects.all()
    serializer_class = BookSerializer
    answer_replays = True


class Contents(LabelledRows):
    """Tags of the content."""

    def get_etag_variant(self, instance):
        return JSONRenderer().render(self.get_serializer(instance).data).decode()


class RestaurantSerializer(serializers.ModelSerializer):
    class Meta:
        model = Restaurant
        fields = ["name", "stars"]


class Restaurants(ConditionalMixin, viewsets.ModelViewSet):
    """Rows of two tables."""

    queryset = Restaurant.objects.all()
    serializer_class = RestaurantSerializer
    precondition_required = True


class Unauthenticated(Variants):
    permission_classes = [permissions.IsAuthenticated]
    authentication_classes = [BasicAuthentication]


class VersionedItemSerializer(serializers.ModelSerializer):
    id = serializers.IntegerField()
    version = VersionField()

    class Meta:
        model = Account
        fields = ["id", "owner", "balance", "version"]
        list_serializer_class = VersionedListSerializer


class VersionedMany(ConditionalMixin, generics.GenericAPIView):
    queryset = Account.objects.order_by("pk")
    serializer_class = VersionedItemSerializer

    def put(self, request, partial=False):
        Unlocked.objects.create(name="written before")
        serializer = self.get_serializer(
            self.filter_queryset(self.get_queryset()),
            data=request.data,
            many=True,
            partial=partial,
        )
        serializer.is_valid(raise_exception=True)
        self.perform_update(serializer)
        return Response(serializer.data)

    def patch(self, request):
        return self.put(request, partial=True)


class ManySerializer(serializers.ListSerializer):
    def update(self, instance, validated_data):
        accounts = {account.pk: account for account in instance}
        for item in validated_data:
            account = accounts[item["id"]]
            account.balance = item["balance"]
            account.version = item["version"]
        Unlocked.objects.create(name="written before")
        Account.objects.bulk_update(accounts.values(), ["balance"])
        return instance


class ManyItemSerializer(BodySerializer):
    id = serializers.IntegerField()

    class Meta(BodySerializer.Meta):
        list_serializer_class = ManySerializer


class Many(ConditionalMixin, generics.GenericAPIView):
    queryset = Account.objects.order_by("pk")
    serializer_class = ManyItemSerializer

    def put(self, request):
        serializer = self.get_serializer(
            self.get_queryset(), data=request.data, many=True
        )
        serializer.is_valid(raise_exception=True)
        self.perform_update(serializer)
        return Response(serializer.data)


class LineSerializer(serializers.ModelSerializer):
    class Meta:
        model = Line
        fields = ["product", "quantity"]


class OrderSerializer(serializers.ModelSerializer):
    lines = LineSerializer(many=True)

    class Meta:
        model = Order
        fields = ["note", "lines"]

    def update(self, instance, validated_data):
        lines = validated_data.pop("lines")
        for line, values in zip(instance.lines.order_by("pk"), lines, strict=True):
            line.quantity = values["quantity"]
            line.save()
        return super().update(instance, validated_data)


class Orders(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Order.objects.all()
    serializer_class = OrderSerializer


class AttachmentSerializer(serializers.ModelSerializer):
    class Meta:
        model = Order
        fields = ["attachment"]

    def update(self, instance, validated_data):
        if not validated_data["attachment"].read():
            raise ValueError("It was read to its end before.")
        return super().update(instance, validated_data)


class Attachments(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Order.objects.all()
    serializer_class = AttachmentSerializer


class Claimed(Orders):
    claims_first = True


class PageSerializer(serializers.ModelSerializer):
    class Meta:
        model = Page
        fields = ["title", "body"]


class Pages(ConditionalMixin, viewsets.ModelViewSet):
    queryset = Page.objects.all()
    serializer_class = PageSerializer


class Plain(APIView):
    """Without the mixin: what it does by hand."""

    def patch(self, request, pk):
        account = Account.objects.get(pk=pk)
        check_preconditions(request, account, current=lambda row: {"owner": row.owner})
        Unlocked.objects.create(name="written before")
        account.balance = request.data["balance"]
        account.save()
        return Response({})

    def post(self, request, pk):
        raise LookupError

    def get(self, request, pk):
        return HttpResponse()


router = routers.SimpleRouter()
for view in [
    Accounts,
    Variants,
    Retried,
    OwnHandler,
    Refreshing,
    Unlooked,
    Careless,
    Hidden,
    Forbidden,
    Mine,
    BodyVersions,
    Orders,
    Attachments,
    Claimed,
    Pages,
    Listed,
    Paged,
    Puts,
    Codes,
    Replayed,
    ReplayedBody,
    Epochs,
    Renames,
    Restaurants,
    Visits,
    Guarded,
    LabelledRows,
    ReplayedLabels,
    ReplayedBooks,
    Contents,
    Unauthenticated,
]:
    router.register(view.__name__.lower(), view, basename=view.__name__.lower())

urlpatterns = [
    path("", include(router.urls)),
    path("generic/<int:pk>/", Generic.as_view()),
    path("many/", Many.as_view()),
    path("versionedmany/", VersionedMany.as_view()),
    path("plain/<int:pk>/", Plain.as_view()),
]
