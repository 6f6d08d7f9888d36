"""Checkpointers of agent frameworks: LangGraph's threads and CrewAI's flows, on Propagul and on what they ship."""
