# A 32-bit PV kernel of one page of work: every way between its two rings once, then the ways that must not work.
#
#   start --> traps, callbacks, stack --> ud2 in ring 1 --> event to itself --> iret to ring 3
#         --> int 0x80, plain iret back --> SYSCALL or SYSENTER, as CPUID says --> cli in ring 3 (#GP) --> read of a kernel page in ring 3 (#PF)
#         --> iret to a selector that does not exist --> failsafe callback --> power off
#   first letter of the command line: S unmapped stack, I iret frame that is not there, F failsafe that cannot be entered
#
# Assembled by tests/lab/ring1.rs: as --32, ld -m elf_i386 -T ring1.ld. ABI: xen/arch-x86/xen-x86_32.h.
    .intel_syntax noprefix

    .set KERNEL_CS, 0xe019
    .set KERNEL_DS, 0xe021
    .set USER_CS, 0xe02b
    .set USER_DS, 0xe033
    .set BAD_CS, 0x1233

    .macro note number, size
    .section .note.Xen, "a", @note
    .long 4, \size, \number
    .asciz "Xen"
    .endm

    note 5, 8
    .asciz "xen-3.0"
    note 6, 8
    .asciz "noxen32"
    note 8, 8
    .asciz "generic"
    note 9, 4
    .asciz "yes"
    note 1, 4
    .long start
    note 3, 4
    .long 0xc0000000
    note 4, 4
    .long 0xc0000000
    note 2, 4
    .long hypercall_page

    # call number, up to four arguments in registers set before
    .macro hypercall number
    call hypercall_page + 32 * \number
    .endm

    .macro say text
    .section .rodata
9:  .ascii "\text\n"
8:
    .text
    mov edx, offset 9b
    mov ecx, offset 8b - 9b
    call print
    .endm

    .text
    .global start
start:
    mov start_info, esi
    mov ebx, offset traps
    hypercall 0
    mov ebx, KERNEL_CS
    mov ecx, offset on_event
    mov edx, KERNEL_CS
    mov esi, offset on_failsafe
    mov eax, start_info
    cmp byte ptr [eax + 0x50], 'F'
    jne 1f
    mov edx, BAD_CS
1:  hypercall 4
    # callback_op: register
    xor ebx, ebx
    mov ecx, offset syscall_callback
    hypercall 30
    test eax, eax
    jnz broken
    xor ebx, ebx
    mov ecx, offset sysenter_callback
    hypercall 30
    test eax, eax
    jnz broken
    mov ebx, KERNEL_DS
    mov ecx, offset kernel_stack
    hypercall 3

    # shared_info and a page for ring 3: one entry of our L1 each.
    mov eax, start_info
    mov ecx, [eax + 0x24]
    or ecx, 3
    mov ebx, offset shared_info
    xor edx, edx
    mov esi, 2
    hypercall 14
    test eax, eax
    jnz broken
    mov ebx, offset user
    call map_for_user
    mov ebx, offset user_stack_page
    call map_for_user

    mov eax, start_info
    mov al, [eax + 0x50]
    cmp al, 'S'
    jne 1f
    mov esp, 0x1000
    ud2
1:  cmp al, 'I'
    jne 1f
    mov esp, 0x1000
    mov eax, 23
    int 0x82
1:
    ud2
    say "ring 1 came back from its trap"

    # An event channel to ourselves.
    mov byte ptr [shared_info + 1], 0
    mov ebx, 7
    mov ecx, offset bind_ipi
    hypercall 32
    test eax, eax
    jnz broken
    mov ebx, 4
    mov ecx, offset bind_ipi + 4
    hypercall 32
    cmp dword ptr events, 1
    jne broken
    say "an event came and went"

    push USER_DS
    push offset user_stack_page + 4096
    push 0x200
    push USER_CS
    push offset user
    jmp hypercall_page + 32 * 23

# ebx: page; opens it to ring 3.
map_for_user:
    mov eax, start_info
    mov eax, [eax + 0x44]
    mov ecx, ebx
    sub ecx, 0xc0000000
    shr ecx, 12
    mov ecx, [eax + ecx * 4]
    shl ecx, 12
    or ecx, 7
    xor edx, edx
    mov esi, 2
    hypercall 14
    test eax, eax
    jnz broken
    ret

# edx: text, ecx: bytes
print:
    xor ebx, ebx
    hypercall 18
    ret

broken:
    say "BROKEN"
    mov dword ptr reason, 3
power_off:
    mov ebx, 2
    mov ecx, offset reason
    hypercall 29
    ud2

on_ud:
    add dword ptr [esp], 2
    iret

on_event:
    inc dword ptr events
    # What hardware does by IF the guest does by hand: take the bits, then open up.
    mov dword ptr [shared_info + 4], 0
    mov dword ptr [shared_info + 0x800], 0
    mov word ptr [shared_info], 0
    iret

# From ring 3, with a frame of five words.
on_int80:
    push eax
    cmp eax, 0x1234
    jne broken
    mov eax, [esp + 8]
    cmp ax, USER_CS
    jne broken
    cmp word ptr [esp + 20], USER_DS
    jne broken
    # Were events unmasked before, the frame says IF.
    test dword ptr [esp + 12], 0x200
    jz broken
    say "ring 3 made a system call"
    pop eax
    mov eax, 0x4321
    iret

on_syscall:
    cmp eax, 0x1235
    jne broken
    cmp word ptr [esp + 4], USER_CS
    jne broken
    cmp dword ptr [esp + 12], offset user_stack_page + 4096
    jne broken
    cmp word ptr [esp + 16], USER_DS
    jne broken
    jmp fast

    # Nothing is known of where it comes from: there is one place.
on_sysenter:
    cmp eax, 0x1236
    jne broken
    cmp dword ptr [esp], 0
    jne broken
    cmp word ptr [esp + 4], 3
    jne broken
    mov dword ptr [esp], offset after_fast
    mov dword ptr [esp + 4], USER_CS
    mov dword ptr [esp + 12], offset user_stack_page + 4096
fast:
    say "ring 3 made a fast system call"
    mov eax, 0x5321
    iret

on_gp:
    # Error code, then EIP: CLI is one byte.
    cmp dword ptr [esp], 0
    jne broken
    cmp word ptr [esp + 8], USER_CS
    jne broken
    say "ring 3 may not disable interrupts"
    add esp, 4
    inc dword ptr [esp]
    iret

on_pf:
    # Present, read, user; arch.cr2 is at 8.
    cmp dword ptr [esp], 5
    jne broken
    cmp dword ptr [shared_info + 8], offset start
    jne broken
    say "ring 3 may not read the kernel"
    push USER_DS
    push offset user_stack_page + 4096
    push 0x200
    push BAD_CS
    push offset user
    jmp hypercall_page + 32 * 23

on_failsafe:
    # ds es fs gs eip cs eflags esp ss
    cmp word ptr [esp + 20], BAD_CS
    jne broken
    cmp dword ptr [esp + 16], offset user
    jne broken
    mov ax, ss
    mov ds, ax
    mov es, ax
    say "a return that cannot be was told of"
    jmp power_off

    .data
reason:
    .long 0
events:
    .long 0
start_info:
    .long 0
bind_ipi:
    .long 0, 0
    # type, flags, CS, EIP
syscall_callback:
    .word 7, 0
    .long KERNEL_CS, on_syscall
sysenter_callback:
    .word 5, 0
    .long KERNEL_CS, on_sysenter
    # vector, flags (DPL, mask), CS, EIP
traps:
    .byte 6, 0
    .word KERNEL_CS
    .long on_ud
    .byte 13, 4
    .word KERNEL_CS
    .long on_gp
    .byte 14, 4
    .word KERNEL_CS
    .long on_pf
    .byte 0x80, 3
    .word KERNEL_CS
    .long on_int80
    .long 0, 0

    .section .pages, "awx"
    .balign 4096
hypercall_page:
    .skip 4096
shared_info:
    .skip 4096
user_stack_page:
    .skip 4096
    # Ring 3: registers first, then what it may not do.
user:
    # The processor took the kernel's data segments away on the way here.
    mov eax, USER_DS
    mov ds, eax
    mov es, eax
    mov eax, 0x1234
    int 0x80
    cmp eax, 0x4321
    jne 2f
    # CPUID with Xen's prefix.
    mov eax, 0x80000001
    .byte 0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2
    test edx, 1 << 11
    jz 1f
    mov eax, 0x1235
    syscall
    jmp after_fast
1:  mov eax, 0x1236
    sysenter
after_fast:
    cmp eax, 0x5321
    jne 2f
    cli
    mov eax, [start]
2:  jmp 2b
    .balign 4096
    .skip 4096
kernel_stack:
