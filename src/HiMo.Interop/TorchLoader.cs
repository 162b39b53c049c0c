// SPDX-License-Identifier: Apache-2.0
using System.ComponentModel;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace HiMo.Interop;

/// <summary>
/// Loads libtorch where TorchSharp's own loading fails: with a libstdc++ older than GCC 13.2 (Debian 12), and with libtorch left
/// in the package cache. Runs by itself as soon as TorchSharp's assembly is loaded; elsewhere it does nothing.
/// </summary>
/// <remarks>
/// <para>TorchSharp 0.107's libLibTorchSharp.so demands GLIBCXX_3.4.32 for one symbol, <c>_ZSt21ios_base_library_initv</c>, which
/// GCC's &lt;iostream&gt; names only to tie a program to a new enough library; no relocation refers to it. With that demand
/// marked weak the dynamic linker accepts the library. The changed bytes live in anonymous memory of this process, so that
/// nothing is written to disk and any number of processes can start at once.</para>
/// <para>It finds TorchSharp's assembly load only if this assembly was loaded before. Projects that reference the package, and the
/// executables of this repository, get a module initializer that sees to it (buildTransitive/HiMo.Interop.targets); others that use
/// torch before anything of HiMo.Interop call <see cref="EnsureLoaded"/> first.</para>
/// <para>HIMO_LIBTORCH names the folder of another libtorch, for example that of Python's torch, which may know CUDA. Its symbols are
/// compared with those that TorchSharp's library needs before anything is loaded; where one is missing the folder is refused, unless
/// HIMO_LIBTORCH_INCOMPLETE is 1: then a call of what is missing ends the process.</para>
/// </remarks>
public static partial class TorchLoader
{
    internal const string FolderVariable = "HIMO_LIBTORCH";
    private const string IncompleteVariable = "HIMO_LIBTORCH_INCOMPLETE";
    private const string TorchLibrary = "libtorch.so";
    private const string SharpLibrary = "libLibTorchSharp.so";
    private const string NewestVersion = "GLIBCXX_3.4.32";
    private const string NewestSymbol = "_ZSt21ios_base_library_initv";
    private const uint CloseOnExec = 1;

    private static readonly string[] s_libraries = ["libc10.so", "libtorch_cpu.so", "libc10_cuda.so", "libtorch_cuda.so", TorchLibrary]; // in the order of loading
    private static readonly Lock s_lock = new();
    private static bool s_done;
    private static string? s_refusal;

    /// <summary>True where TorchSharp's native library was loaded from a changed copy in memory.</summary>
    internal static bool UsedWeakCopy { get; private set; }

    /// <summary>Makes TorchSharp usable, or says what is missing. Cheap after the first call; safe from several threads.</summary>
    /// <exception cref="DllNotFoundException">No libtorch was found; the message names the package to reference.</exception>
    public static void EnsureLoaded()
    {
        Prepare();
        if (s_refusal is not null)
        {
            throw new DllNotFoundException(s_refusal);
        }

        try
        {
            RuntimeHelpers.RunClassConstructor(typeof(TorchSharp.torch).TypeHandle);
        }
        catch (TypeInitializationException exception)
        {
            throw new DllNotFoundException(
                $"libtorch was not found or did not load. Add to your project: <PackageReference Include=\"{PackageForThisPlatform()}\" "
                    + $"Version=\"2.10.0\" />. TorchSharp says: {exception.GetBaseException().Message}",
                exception);
        }
    }

    /// <summary>A module's name, for its base constructor: the first moment at which it needs torch.</summary>
    internal static string NameOf<TModule>()
    {
        EnsureLoaded();
        return typeof(TModule).Name;
    }

    /// <summary>Waits for TorchSharp's assembly; called by module initializers, costs nothing until torch is used.</summary>
    [EditorBrowsable(EditorBrowsableState.Never)]
#pragma warning disable CA2255 // A library may do this only where nothing else works: TorchSharp's static constructor must find the library loaded.
    [ModuleInitializer]
#pragma warning restore CA2255
    public static void LoadWithTorchSharp()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return;
        }

        AppDomain.CurrentDomain.AssemblyLoad += OnAssemblyLoad;
        if (AppDomain.CurrentDomain.GetAssemblies().Any(IsTorchSharp))
        {
            Prepare();
        }
    }

    private static void OnAssemblyLoad(object? sender, AssemblyLoadEventArgs arguments)
    {
        if (IsTorchSharp(arguments.LoadedAssembly))
        {
            Prepare();
        }
    }

    private static bool IsTorchSharp(Assembly assembly) => assembly.GetName().Name == "TorchSharp";

    /// <summary>Loads libtorch and, with an old libstdc++, the changed copy; leaves to TorchSharp what is not found.</summary>
    private static void Prepare()
    {
        lock (s_lock)
        {
            if (s_done || !OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            {
                return;
            }

            s_done = true;
            AppDomain.CurrentDomain.AssemblyLoad -= OnAssemblyLoad;

            if (Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } folder && !LoadFrom(folder))
            {
                return;
            }

            // libLibTorchSharp.so finds libtorch only in its own folder, unless it is loaded already.
            if (Find(TorchLibrary) is string torch && NativeLibrary.TryLoad(torch, out _)
                && Find(SharpLibrary) is string sharp && StandardLibraryIsTooOld())
            {
                byte[] library = File.ReadAllBytes(sharp);
                ElfVersionNeed.MakeWeak(library, NewestVersion);
                LoadFromMemory(library);
                UsedWeakCopy = true;
            }
        }
    }

    // Sets s_refusal where it does not; an exception would end in the runtime's event of a loaded assembly.
    private static bool LoadFrom(string folder)
    {
        string library = Path.Combine(folder, TorchLibrary);
        try
        {
            string[] missing = MissingSymbols(folder);
            bool isAllowed = Environment.GetEnvironmentVariable(IncompleteVariable) == "1";
            if (!File.Exists(library))
            {
                s_refusal = $"{FolderVariable} is {folder}, where there is no {TorchLibrary}; for Python's torch it is the folder lib beside torch/__init__.py.";
            }
            else if (missing.Length > 0 && !isAllowed)
            {
                s_refusal = $"The libtorch in {folder} ({FolderVariable}) lacks {missing.Length} symbols that TorchSharp needs, {missing[0]} among them. Use one of version 2.10, "
                    + $"or set {IncompleteVariable}=1: then a call of what is missing ends the process.";
            }
            else
            {
                Array.ForEach([.. s_libraries.Select(name => Path.Combine(folder, name)).Where(File.Exists)], path => _ = NativeLibrary.Load(path));
            }
        }
        catch (Exception failure) when (failure is DllNotFoundException or IOException or InvalidDataException or UnauthorizedAccessException)
        {
            s_refusal = $"The libtorch in {folder} ({FolderVariable}) does not load: {failure.Message}";
        }

        return s_refusal is null;
    }

    /// <summary>The symbols that TorchSharp's library needs and a libtorch does not offer, found without loading it.</summary>
    /// <param name="folder">That holds libtorch.</param>
    internal static string[] MissingSymbols(string folder) =>
        Find(SharpLibrary) is string sharp ? ElfSymbols.Missing(sharp, s_libraries.Select(library => Path.Combine(folder, library))) : [];

    private static bool StandardLibraryIsTooOld() =>
        NativeLibrary.TryLoad("libstdc++.so.6", out nint library) && !NativeLibrary.TryGetExport(library, NewestSymbol, out _);

    /// <summary>HIMO_LIBTORCH, then where the runtime looks as well: beside the application, and the folders of the packages in its deps.json.</summary>
    internal static string? Find(string file)
    {
        string packages = AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "";
        string[] folders =
        [
            .. Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } set ? [set] : Array.Empty<string>(),
            AppContext.BaseDirectory,
            Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native"),
            .. packages.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries),
        ];
        return folders.Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);
    }

    /// <summary>TorchSharp's later import finds the loaded library by its soname.</summary>
    private static void LoadFromMemory(byte[] library)
    {
        int descriptor = CreateMemoryFile(SharpLibrary, CloseOnExec);
        if (descriptor < 0)
        {
            throw new DllNotFoundException($"memfd_create for a copy of {SharpLibrary} failed: {Marshal.GetLastPInvokeErrorMessage()}");
        }

        using SafeFileHandle file = new(descriptor, ownsHandle: true);
        RandomAccess.Write(file, library, fileOffset: 0);
        _ = NativeLibrary.Load($"/proc/self/fd/{descriptor}");
    }

    private static string PackageForThisPlatform() =>
        OperatingSystem.IsWindows() ? "libtorch-cpu-win-x64" : OperatingSystem.IsMacOS() ? "libtorch-cpu-osx-arm64" : "libtorch-cpu-linux-x64";

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int CreateMemoryFile(string name, uint flags);
}
