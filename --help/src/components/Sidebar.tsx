import { NavLink } from 'react-router-dom';
import { cn } from '@/lib/cn';
import { navigation } from '@/lib/navigation';

export function Sidebar() {
  return (
    <nav className="flex gap-1 overflow-x-auto border-r border-slate-200 bg-white p-3 md:flex-col">
      {navigation.map(({ to, name, icon: Icon }) => (
        <NavLink
          key={to}
          to={to}
          className={({ isActive }) => cn('flex items-center gap-2 rounded-md px-3 py-2 text-sm', isActive && 'bg-brand text-white')}
        >
          <Icon size={16} /> {name}
        </NavLink>
      ))}
    </nav>
  );
}
