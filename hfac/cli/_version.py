"""``hfac --version --verbose``: what a report of a fault should say about a machine."""


def lines() -> list[str]:
    """Versions, platform, devices and the folder of compiled programs, a line each."""
    import platform
    from importlib.metadata import version

    import jax

    from hfac import __version__, runs
    from hfac.engine import num_cores

    runs.configure()
    packages = ("jax", "jaxlib", "numpy", "xarray", "zarr", "optax", "flax", "chex", "tyro")
    rows = {
        "hfac": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        **{name: version(name) for name in packages},
        "platform": f"{platform.platform()}, {num_cores()} cores",
        "devices": ", ".join(f"{device.platform} {device.device_kind}" for device in jax.devices()),
        "compiled programs": str(jax.config.jax_compilation_cache_dir),  # type: ignore[attr-defined]
    }
    return [f"{name:<18} {value}" for name, value in rows.items()]
