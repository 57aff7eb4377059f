"""The pages of conversations."""

from django.contrib import admin

from chat.models import Conversation, Message

from .readonly import ReadOnly, ReadOnlyInline


class MessageInline(ReadOnlyInline):
    model = Message
    fields = ("role", "created_at", "text")
    readonly_fields = fields


@admin.register(Conversation)
class ConversationAdmin(ReadOnly):
    list_display = ("title", "owner", "created_at", "updated_at")
    search_fields = ("title", "owner", "id__startswith")
    date_hierarchy = "created_at"
    show_full_result_count = False
    inlines = (MessageInline,)
