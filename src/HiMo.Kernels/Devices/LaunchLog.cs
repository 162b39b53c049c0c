// SPDX-License-Identifier: Apache-2.0
using System.Reflection;
using ILGPU;

namespace HiMo.Kernels;

/// <summary>One launch.</summary>
/// <param name="Kernel">The kernel's method, generic ones closed.</param>
/// <param name="Groups">Extent of the grid.</param>
/// <param name="Threads">Threads of a group.</param>
/// <param name="SharedLength">Words of dynamic shared memory.</param>
/// <param name="Arguments">The structure that the kernel was given; its sizes are what a cost model needs.</param>
internal sealed record LaunchEntry(MethodInfo Kernel, Index3D Groups, int Threads, int SharedLength, object Arguments)
{
    /// <summary>Class, method and type arguments, for example <c>GpuGemm.Kernel&lt;GramLeft,GramRight,GramResult,StrictPrecision&gt;</c>.</summary>
    public string Name => NameOf(Kernel);

    /// <inheritdoc cref="Name"/>
    public static string NameOf(MethodInfo kernel)
    {
        string operands = string.Join(',', kernel.GetGenericArguments().Select(type => type.Name));
        return operands.Length == 0 ? $"{kernel.DeclaringType!.Name}.{kernel.Name}" : $"{kernel.DeclaringType!.Name}.{kernel.Name}<{operands}>";
    }
}

/// <summary>Counts what a step asks of its device, so that a test can hold the library to its promise.</summary>
internal sealed class LaunchLog
{
    private readonly Lock _lock = new();

    /// <summary>Whether launches are kept; off on a GPU, where a training run would pile them up.</summary>
    public bool IsRecording { get; set; }

    /// <summary>Every launch, in order.</summary>
    public List<LaunchEntry> Launches { get; } = [];

    /// <summary>Buffers allocated.</summary>
    public int Allocations { get; private set; }

    /// <summary>Their bytes.</summary>
    public long AllocatedBytes { get; private set; }

    /// <summary>Copies between host and device.</summary>
    public int HostCopies { get; private set; }

    /// <summary>Times the host waited for the device.</summary>
    public int Synchronizations { get; private set; }

    public void Record(LaunchEntry launch)
    {
        lock (_lock)
        {
            Launches.Add(launch);
        }
    }

    public void CountAllocation(long bytes)
    {
        lock (_lock)
        {
            Allocations++;
            AllocatedBytes += bytes;
        }
    }

    /// <summary>A copy to the host, which waits.</summary>
    public void CountRead()
    {
        lock (_lock)
        {
            HostCopies++;
            Synchronizations++;
        }
    }

    /// <summary>Forgets everything.</summary>
    public void Reset()
    {
        lock (_lock)
        {
            Launches.Clear();
            Allocations = 0;
            AllocatedBytes = 0;
            HostCopies = 0;
            Synchronizations = 0;
        }
    }
}
