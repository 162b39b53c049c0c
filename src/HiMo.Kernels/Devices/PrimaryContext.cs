// SPDX-License-Identifier: Apache-2.0
// ILGPU inside the device's primary context, where libtorch and every user of the CUDA runtime live: their pointers and streams are
// then valid here. ILGPU makes a private context; right after that, while nothing has been allocated or loaded in it, its handle is
// replaced and the private context destroyed.
// Limits     The accelerator must never be disposed, nor finalised: that would destroy the primary context under everybody's feet. One
//            per device stays for the life of the process.
//            ILGPU remembers per thread which accelerator it made current and does not ask the driver: whoever calls into it goes
//            through Enter.
using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace HiMo.Kernels;

internal static class PrimaryContext
{
    private static readonly ConcurrentDictionary<int, Lazy<CudaAccelerator>> s_accelerators = new();

    /// <summary>The one accelerator of a device.</summary>
    /// <param name="device">The driver's number.</param>
    /// <param name="configure">What ILGPU's context needs besides the device.</param>
    public static CudaAccelerator Open(int device, Action<Context.Builder> configure) =>
        s_accelerators.GetOrAdd(device, _ => new Lazy<CudaAccelerator>(() => Create(device, configure))).Value;

    /// <summary>Makes an accelerator's context current on this thread until the scope is disposed of; does nothing in emulation.</summary>
    public static Scope Enter(Accelerator accelerator) => new(accelerator as CudaAccelerator);

    private static CudaAccelerator Create(int device, Action<Context.Builder> configure)
    {
        Context context = Context.Create(builder => configure(builder.Cuda(each => each.DeviceId == device)));
        CudaAccelerator accelerator = context.GetCudaDevices()[0].CreateCudaAccelerator(context);
        GC.SuppressFinalize(accelerator);
        GC.SuppressFinalize(context);
        CudaDriver.RetainPrimaryContext(out nint primary, device).ThrowIfFailed();
        nint own = accelerator.NativePtr;
        SetNativePtr(accelerator, primary);
        CudaAPI.CurrentAPI.DestroyContext(own).ThrowIfFailed();             // owns nothing: stream 0 needs no context
        CudaAPI.CurrentAPI.SetCurrentContext(primary).ThrowIfFailed();      // by hand: ILGPU believes that it has done so
        return accelerator;
    }

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_NativePtr")]
    private static extern void SetNativePtr(Accelerator accelerator, nint value);

    /// <summary>
    /// A context on top of this thread's stack, where another one was current. A thread without any gets the primary one for good, as the CUDA
    /// runtime does: ILGPU believes from its first call on that it is current there.
    /// </summary>
    public readonly ref struct Scope
    {
        private readonly bool _isPushed;

        public Scope(CudaAccelerator? accelerator)
        {
            if (accelerator is null)
            {
                return;
            }

            CudaDriver.CurrentContext(out nint current).ThrowIfFailed();
            if (current == 0)
            {
                CudaAPI.CurrentAPI.SetCurrentContext(accelerator.NativePtr).ThrowIfFailed();
            }
            else if (current != accelerator.NativePtr)
            {
                CudaDriver.PushContext(accelerator.NativePtr).ThrowIfFailed();
                _isPushed = true;
            }
        }

        public void Dispose()
        {
            if (_isPushed)
            {
                CudaDriver.PopContext(out _).ThrowIfFailed();
            }
        }
    }
}
