"""LangGraph on replicated state: threads that survive crashes and machines."""
