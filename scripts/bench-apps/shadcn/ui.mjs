// The 40 interface components of the shadcn-like app, in src/components/ui: thin wrappers of Radix primitives and of a few other packages.
//
// Most are written from a table: file, package, and per exported part the primitive's part, its classes and what is rendered inside.

/** [file, package, parts]; a part is [export, part of the primitive, classes, children]; without classes the part is passed on as it is. */
const PRIMITIVES = [
  ['accordion', '@radix-ui/react-accordion', [
    ['Accordion', 'Root'],
    ['AccordionItem', 'Item', 'border-b border-border last:border-0'],
    ['AccordionTrigger', 'Trigger', 'flex w-full items-center justify-between py-3 text-left text-sm font-medium hover:underline'],
    ['AccordionContent', 'Content', 'overflow-hidden pb-3 text-sm text-muted-foreground data-[state=open]:animate-in data-[state=open]:fade-in-0'],
  ]],
  ['alert-dialog', '@radix-ui/react-alert-dialog', [
    ['AlertDialog', 'Root'], ['AlertDialogTrigger', 'Trigger'], ['AlertDialogPortal', 'Portal'],
    ['AlertDialogOverlay', 'Overlay', 'fixed inset-0 z-40 bg-black/60'],
    ['AlertDialogContent', 'Content', 'fixed inset-x-4 top-1/4 z-50 mx-auto max-w-md rounded-lg border bg-background p-6 shadow-lg'],
    ['AlertDialogTitle', 'Title', 'text-lg font-semibold'],
    ['AlertDialogDescription', 'Description', 'text-sm text-muted-foreground'],
    ['AlertDialogAction', 'Action', 'mt-4 rounded-md bg-destructive px-3 py-2 text-sm text-destructive-foreground'],
    ['AlertDialogCancel', 'Cancel', 'mt-4 mr-2 rounded-md border px-3 py-2 text-sm'],
  ]],
  ['aspect-ratio', '@radix-ui/react-aspect-ratio', [['AspectRatio', 'Root']]],
  ['avatar', '@radix-ui/react-avatar', [
    ['Avatar', 'Root', 'relative flex h-9 w-9 shrink-0 overflow-hidden rounded-full'],
    ['AvatarImage', 'Image', 'h-full w-full object-cover'],
    ['AvatarFallback', 'Fallback', 'flex h-full w-full items-center justify-center bg-muted text-xs'],
  ]],
  ['checkbox', '@radix-ui/react-checkbox', [
    ['Checkbox', 'Root', 'h-4 w-4 rounded border border-primary data-[state=checked]:bg-primary', '<Primitive.Indicator className="block text-xs leading-4 text-primary-foreground">✓</Primitive.Indicator>'],
  ]],
  ['collapsible', '@radix-ui/react-collapsible', [['Collapsible', 'Root'], ['CollapsibleTrigger', 'Trigger'], ['CollapsibleContent', 'Content']]],
  ['context-menu', '@radix-ui/react-context-menu', menu('ContextMenu')],
  ['dialog', '@radix-ui/react-dialog', [
    ['Dialog', 'Root'], ['DialogTrigger', 'Trigger'], ['DialogPortal', 'Portal'], ['DialogClose', 'Close'],
    ['DialogOverlay', 'Overlay', 'fixed inset-0 z-40 bg-black/50 data-[state=open]:animate-in data-[state=open]:fade-in-0'],
    ['DialogContent', 'Content', 'fixed inset-x-4 top-24 z-50 mx-auto grid max-w-lg gap-4 rounded-lg border bg-background p-6 shadow-lg'],
    ['DialogTitle', 'Title', 'text-lg font-semibold leading-none tracking-tight'],
    ['DialogDescription', 'Description', 'text-sm text-muted-foreground'],
  ]],
  ['dropdown-menu', '@radix-ui/react-dropdown-menu', menu('DropdownMenu')],
  ['hover-card', '@radix-ui/react-hover-card', [
    ['HoverCard', 'Root'], ['HoverCardTrigger', 'Trigger'],
    ['HoverCardContent', 'Content', 'z-50 w-64 rounded-md border bg-popover p-4 text-popover-foreground shadow-md'],
  ]],
  ['label', '@radix-ui/react-label', [['Label', 'Root', 'text-sm font-medium leading-none peer-disabled:opacity-70']]],
  ['menubar', '@radix-ui/react-menubar', [
    ['Menubar', 'Root', 'flex h-9 items-center gap-1 rounded-md border bg-background p-1'], ['MenubarMenu', 'Menu'], ['MenubarPortal', 'Portal'],
    ['MenubarTrigger', 'Trigger', 'rounded-sm px-3 py-1 text-sm focus:bg-accent data-[state=open]:bg-accent'],
    ['MenubarContent', 'Content', 'z-50 min-w-48 rounded-md border bg-popover p-1 shadow-md'],
    ['MenubarItem', 'Item', 'rounded-sm px-2 py-1.5 text-sm outline-none focus:bg-accent'],
  ]],
  ['navigation-menu', '@radix-ui/react-navigation-menu', [
    ['NavigationMenu', 'Root', 'relative flex max-w-max items-center'],
    ['NavigationMenuList', 'List', 'flex list-none items-center gap-1'], ['NavigationMenuItem', 'Item'],
    ['NavigationMenuLink', 'Link', 'rounded-md px-4 py-2 text-sm font-medium hover:bg-accent'],
  ]],
  ['popover', '@radix-ui/react-popover', [
    ['Popover', 'Root'], ['PopoverTrigger', 'Trigger'], ['PopoverPortal', 'Portal'],
    ['PopoverContent', 'Content', 'z-50 w-72 rounded-md border bg-popover p-4 text-popover-foreground shadow-md outline-none'],
  ]],
  ['progress', '@radix-ui/react-progress', [
    ['Progress', 'Root', 'relative h-2 w-full overflow-hidden rounded-full bg-secondary'],
    ['ProgressBar', 'Indicator', 'h-full bg-primary transition-transform'],
  ]],
  ['radio-group', '@radix-ui/react-radio-group', [
    ['RadioGroup', 'Root', 'grid gap-2'],
    ['RadioGroupItem', 'Item', 'aspect-square h-4 w-4 rounded-full border border-primary', '<Primitive.Indicator className="mx-auto block h-2 w-2 rounded-full bg-primary" />'],
  ]],
  ['scroll-area', '@radix-ui/react-scroll-area', [
    ['ScrollArea', 'Root', 'relative overflow-hidden'], ['ScrollViewport', 'Viewport', 'h-full w-full rounded-[inherit]'],
    ['ScrollBar', 'Scrollbar', 'flex w-2.5 touch-none select-none p-px', '<Primitive.Thumb className="relative flex-1 rounded-full bg-border" />'],
  ]],
  ['select', '@radix-ui/react-select', [
    ['Select', 'Root'], ['SelectValue', 'Value'], ['SelectPortal', 'Portal'], ['SelectViewport', 'Viewport', 'p-1'],
    ['SelectTrigger', 'Trigger', 'flex h-9 w-full items-center justify-between rounded-md border border-input px-3 py-2 text-sm'],
    ['SelectContent', 'Content', 'relative z-50 max-h-80 min-w-32 overflow-hidden rounded-md border bg-popover shadow-md'],
    ['SelectItem', 'Item', 'relative rounded-sm px-3 py-1.5 text-sm outline-none focus:bg-accent'], ['SelectItemText', 'ItemText'],
  ]],
  ['separator', '@radix-ui/react-separator', [
    ['Separator', 'Root', 'shrink-0 bg-border data-[orientation=horizontal]:h-px data-[orientation=horizontal]:w-full data-[orientation=vertical]:w-px'],
  ]],
  ['slider', '@radix-ui/react-slider', [
    ['Slider', 'Root', 'relative flex w-full touch-none select-none items-center',
      '<Primitive.Track className="h-1.5 grow rounded-full bg-secondary"><Primitive.Range className="absolute h-full bg-primary" /></Primitive.Track>'
      + '<Primitive.Thumb className="block h-4 w-4 rounded-full border bg-background" />'],
  ]],
  ['switch', '@radix-ui/react-switch', [
    ['Switch', 'Root', 'inline-flex h-5 w-9 rounded-full bg-input p-0.5 data-[state=checked]:bg-primary',
      '<Primitive.Thumb className="h-4 w-4 rounded-full bg-background transition-transform data-[state=checked]:translate-x-4" />'],
  ]],
  ['tabs', '@radix-ui/react-tabs', [
    ['Tabs', 'Root'], ['TabsList', 'List', 'inline-flex h-9 items-center rounded-lg bg-muted p-1 text-muted-foreground'],
    ['TabsTrigger', 'Trigger', 'rounded-md px-3 py-1 text-sm font-medium data-[state=active]:bg-background data-[state=active]:text-foreground data-[state=active]:shadow'],
    ['TabsContent', 'Content', 'mt-3 focus-visible:outline-none'],
  ]],
  ['toast', '@radix-ui/react-toast', [
    ['ToastProvider', 'Provider'], ['ToastViewport', 'Viewport', 'fixed bottom-0 right-0 z-50 flex max-w-sm flex-col gap-2 p-4'],
    ['Toast', 'Root', 'rounded-md border bg-background p-4 shadow-lg'], ['ToastTitle', 'Title', 'text-sm font-semibold'],
    ['ToastDescription', 'Description', 'text-sm opacity-90'],
  ]],
  ['toggle', '@radix-ui/react-toggle', [['Toggle', 'Root', 'inline-flex h-9 items-center rounded-md px-3 text-sm hover:bg-muted data-[state=on]:bg-accent']]],
  ['toggle-group', '@radix-ui/react-toggle-group', [
    ['ToggleGroup', 'Root', 'flex items-center gap-1'], ['ToggleGroupItem', 'Item', 'h-8 rounded-md px-2 text-sm data-[state=on]:bg-accent'],
  ]],
  ['tooltip', '@radix-ui/react-tooltip', [
    ['TooltipProvider', 'Provider'], ['Tooltip', 'Root'], ['TooltipTrigger', 'Trigger'],
    ['TooltipContent', 'Content', 'z-50 rounded-md bg-primary px-3 py-1.5 text-xs text-primary-foreground animate-in fade-in-0 zoom-in-95'],
  ]],
];

/** The parts that all menus have. */
function menu(name) {
  return [
    [name, 'Root'], [`${name}Trigger`, 'Trigger'], [`${name}Portal`, 'Portal'], [`${name}Group`, 'Group'],
    [`${name}Content`, 'Content', 'z-50 min-w-40 rounded-md border bg-popover p-1 text-popover-foreground shadow-md'],
    [`${name}Item`, 'Item', 'relative flex select-none items-center gap-2 rounded-sm px-2 py-1.5 text-sm outline-none focus:bg-accent'],
    [`${name}Label`, 'Label', 'px-2 py-1.5 text-sm font-semibold'], [`${name}Separator`, 'Separator', '-mx-1 my-1 h-px bg-muted'],
  ];
}

/** Plain elements with classes: [file, [[export, element, classes]]]. */
const ELEMENTS = [
  ['alert', [['Alert', 'div', 'relative w-full rounded-lg border p-4 text-sm'], ['AlertTitle', 'h5', 'mb-1 font-medium'], ['AlertDescription', 'div', 'text-muted-foreground']]],
  ['breadcrumb', [['Breadcrumb', 'nav', 'text-sm'], ['BreadcrumbList', 'ol', 'flex gap-2 text-muted-foreground'], ['BreadcrumbItem', 'li', 'inline-flex']]],
  ['card', [
    ['Card', 'section', 'rounded-xl border bg-card text-card-foreground shadow-sm'], ['CardHeader', 'header', 'flex flex-col gap-1 p-5'],
    ['CardTitle', 'h3', 'font-semibold leading-none'], ['CardDescription', 'p', 'text-sm text-muted-foreground'], ['CardContent', 'div', 'p-5 pt-0'],
  ]],
  ['input', [['Input', 'input', 'h-9 w-full rounded-md border border-input bg-transparent px-3 py-1 text-sm placeholder:text-muted-foreground']]],
  ['skeleton', [['Skeleton', 'div', 'animate-pulse rounded-md bg-muted']]],
  ['table', [
    ['Table', 'table', 'w-full caption-bottom text-sm'], ['TableHeader', 'thead', '[&_tr]:border-b'], ['TableBody', 'tbody', '[&_tr:last-child]:border-0'],
    ['TableRow', 'tr', 'border-b transition-colors hover:bg-muted/50'], ['TableHead', 'th', 'h-10 px-2 text-left font-medium text-muted-foreground'], ['TableCell', 'td', 'p-2 align-middle'],
  ]],
  ['textarea', [['Textarea', 'textarea', 'min-h-20 w-full rounded-md border border-input bg-transparent px-3 py-2 text-sm']]],
];

/** What no table describes. */
const OTHERS = {
  button: `import { Slot } from '@radix-ui/react-slot';
import { cva, type VariantProps } from 'class-variance-authority';
import * as React from 'react';
import { cn } from '@/lib/utils';

export const buttonStyles = cva('inline-flex items-center justify-center gap-2 rounded-md text-sm font-medium transition-colors disabled:opacity-50', {
  variants: {
    look: {
      solid: 'bg-primary text-primary-foreground hover:bg-primary/90',
      outline: 'border border-input hover:bg-accent',
      ghost: 'hover:bg-accent',
      danger: 'bg-destructive text-destructive-foreground',
    },
    size: { md: 'h-9 px-4', sm: 'h-8 px-3 text-xs', icon: 'h-9 w-9' },
  },
  defaultVariants: { look: 'solid', size: 'md' },
});

type Props = React.ButtonHTMLAttributes<HTMLButtonElement> & VariantProps<typeof buttonStyles> & { asChild?: boolean };

export const Button = React.forwardRef<HTMLButtonElement, Props>(({ className, look, size, asChild, ...props }, ref) => {
  const Element = asChild ? Slot : 'button';
  return <Element ref={ref} className={cn(buttonStyles({ look, size }), className)} {...props} />;
});
Button.displayName = 'Button';
`,
  badge: `import { cva, type VariantProps } from 'class-variance-authority';
import type { HTMLAttributes } from 'react';
import { cn } from '@/lib/utils';

const badge = cva('inline-flex rounded-full border px-2.5 py-0.5 text-xs font-semibold', {
  variants: { tone: { plain: 'border-border', good: 'border-transparent bg-emerald-100 text-emerald-900', bad: 'border-transparent bg-rose-100 text-rose-900' } },
  defaultVariants: { tone: 'plain' },
});

export const Badge = ({ className, tone, ...props }: HTMLAttributes<HTMLSpanElement> & VariantProps<typeof badge>) => (
  <span className={cn(badge({ tone }), className)} {...props} />
);
`,
  calendar: `import { DayPicker, type DayPickerProps } from 'react-day-picker';
import { cn } from '@/lib/utils';

export const Calendar = ({ className, ...props }: DayPickerProps) => <DayPicker showOutsideDays className={cn('p-3', className)} {...props} />;
`,
  carousel: `import useEmblaCarousel from 'embla-carousel-react';
import type { ReactNode } from 'react';

export function Carousel({ children }: { children: ReactNode }) {
  const [viewport] = useEmblaCarousel({ align: 'start', dragFree: true });
  return (
    <div ref={viewport} className="overflow-hidden">
      <div className="flex gap-4">{children}</div>
    </div>
  );
}
`,
  chart: `import type { ReactElement } from 'react';
import { ResponsiveContainer, Tooltip } from 'recharts';

export const ChartBox = ({ children }: { children: ReactElement }) => (
  <ResponsiveContainer width="100%" height={220}>
    {children}
  </ResponsiveContainer>
);

export const ChartTooltip = Tooltip;
`,
  command: `import { Command as Palette } from 'cmdk';

export function Command({ words, onPick }: { words: string[]; onPick: (word: string) => void }) {
  return (
    <Palette className="rounded-md border bg-popover">
      <Palette.Input placeholder="Find…" className="h-9 w-full border-b bg-transparent px-3 text-sm outline-none" />
      <Palette.List className="max-h-60 overflow-y-auto p-1">
        <Palette.Empty className="p-3 text-sm text-muted-foreground">Nothing found</Palette.Empty>
        {words.map((word) => (
          <Palette.Item key={word} onSelect={onPick} className="rounded-sm px-2 py-1.5 text-sm aria-selected:bg-accent">
            {word}
          </Palette.Item>
        ))}
      </Palette.List>
    </Palette>
  );
}
`,
  drawer: `import type { ReactNode } from 'react';
import { Drawer as Sheet } from 'vaul';

export const Drawer = ({ trigger, children }: { trigger: ReactNode; children: ReactNode }) => (
  <Sheet.Root>
    <Sheet.Trigger asChild>{trigger}</Sheet.Trigger>
    <Sheet.Portal>
      <Sheet.Overlay className="fixed inset-0 z-40 bg-black/40" />
      <Sheet.Content className="fixed inset-x-0 bottom-0 z-50 rounded-t-xl border bg-background p-6">{children}</Sheet.Content>
    </Sheet.Portal>
  </Sheet.Root>
);
`,
  form: `import type { ReactNode } from 'react';
import { Controller, type ControllerProps, type FieldPath, type FieldValues, FormProvider } from 'react-hook-form';
import { Label } from './label';

export const Form = FormProvider;

export function FormField<V extends FieldValues, N extends FieldPath<V>>({ label, ...props }: ControllerProps<V, N> & { label: ReactNode }) {
  return (
    <div className="space-y-1">
      <Label htmlFor={props.name}>{label}</Label>
      <Controller {...props} />
    </div>
  );
}
`,
  'input-otp': `import { OTPInput, REGEXP_ONLY_DIGITS } from 'input-otp';

export const OneTimeCode = ({ onDone }: { onDone: (code: string) => void }) => (
  <OTPInput
    maxLength={6}
    pattern={REGEXP_ONLY_DIGITS}
    onComplete={onDone}
    render={({ slots }) => <div className="flex gap-2">{slots.map((slot, at) => <span key={at} className="h-9 w-9 border text-center">{slot.char}</span>)}</div>}
  />
);
`,
  resizable: `import { Panel, PanelGroup, PanelResizeHandle } from 'react-resizable-panels';

export const Resizable = PanelGroup;
export const ResizablePanel = Panel;
export const ResizableHandle = () => <PanelResizeHandle className="w-px bg-border" />;
`,
  sonner: `import { useTheme } from 'next-themes';
import { Toaster as Messages, toast } from 'sonner';

export function Toaster() {
  const { resolvedTheme } = useTheme();
  return <Messages theme={resolvedTheme === 'dark' ? 'dark' : 'light'} position="bottom-right" />;
}

export { toast };
`,
};

function primitive([file, from, parts]) {
  const plain = parts.filter(([, , classes]) => !classes).map(([name, part]) => `export const ${name} = Primitive.${part};\n`).join('');
  const styled = parts.filter(([, , classes]) => classes).map(([name, part, classes, children]) => `
export const ${name} = React.forwardRef<React.ElementRef<typeof Primitive.${part}>, React.ComponentPropsWithoutRef<typeof Primitive.${part}>>(
  ({ className, ...props }, ref) => ${
    children ? `(
    <Primitive.${part} ref={ref} className={cn('${classes}', className)} {...props}>
      ${children}
    </Primitive.${part}>
  )` : `<Primitive.${part} ref={ref} className={cn('${classes}', className)} {...props} />`
},
);
${name}.displayName = '${name}';
`).join('');
  const imports = styled ? `import * as React from 'react';\nimport { cn } from '@/lib/utils';\n` : '';
  return [file, `import * as Primitive from '${from}';\n${imports}\n${plain}${styled}`];
}

function elements([file, parts]) {
  const text = parts.map(([name, tag, classes]) => `
export const ${name} = ({ className, ...props }: ComponentProps<'${tag}'>) => <${tag} className={cn('${classes}', className)} {...props} />;
`).join('');
  return [file, `import type { ComponentProps } from 'react';\nimport { cn } from '@/lib/utils';\n${text}`];
}

/** Path to text. */
export function uiFiles() {
  const all = [...PRIMITIVES.map(primitive), ...ELEMENTS.map(elements), ...Object.entries(OTHERS)];
  return Object.fromEntries(all.map(([file, text]) => [`src/components/ui/${file}.tsx`, text]));
}
