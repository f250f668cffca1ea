//! Azurite, Microsoft's emulator of Azure Storage: started once, each test with a container of its own.
