"""From a text to the object it names: methods, tasks and plug-ins."""
