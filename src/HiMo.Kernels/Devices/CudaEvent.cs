// SPDX-License-Identifier: Apache-2.0
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

/// <summary>A point on a stream whose time can be read.</summary>
internal sealed class CudaEvent : IDisposable
{
    private nint _handle;

    /// <summary>Makes one in the current context.</summary>
    public CudaEvent() => CudaDriver.CreateEvent(out _handle, flags: 0).ThrowIfFailed();

    /// <summary>Puts it behind all that has been enqueued.</summary>
    public void Record(AcceleratorStream stream) => CudaDriver.RecordEvent(_handle, ((CudaStream)stream).StreamPtr).ThrowIfFailed();

    /// <summary>Waits until the device has come there.</summary>
    public void Synchronize() => CudaDriver.SynchronizeEvent(_handle).ThrowIfFailed();

    /// <summary>Milliseconds of the device's clock from an earlier event, half a microsecond fine; both have been passed.</summary>
    public float MillisecondsSince(CudaEvent earlier)
    {
        CudaDriver.ElapsedTime(out float milliseconds, earlier._handle, _handle).ThrowIfFailed();
        return milliseconds;
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            CudaDriver.DestroyEvent(_handle).ThrowIfFailed();
            _handle = 0;
        }
    }
}
