"""Imports every module of ours but the demonstration, whose broker the image does not have."""

import importlib
import pkgutil

import api
import schemas
import sleepctl
import worker

LEFT_OUT = ("sleepctl.__main__", "sleepctl.demo", "sleepctl.commands.run")

for package in (schemas, worker, api, sleepctl):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.startswith(LEFT_OUT):
            importlib.import_module(module.name)
